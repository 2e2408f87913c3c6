"""Trainings of the digits nets as pairs of processes that one may kill.

Each half runs the `dualnet` command in a process of its own. The process is forked from this one,
where the libraries are imported already: a start takes a tenth of a second instead of three, so
that a thousand kills are minutes. The command line, the signals and the files are the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import dualnet.cli
from dualnet import backend
from dualnet.data.sets import prepare
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.train.checkpoint import commit
from dualnet.train.outcome.digest import digest

__all__ = ["COUPLINGS", "Lab", "Training", "same"]

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("net1", "net2")

#: Beside what follows from the iteration: dropout, momentum, a loss averaged over four iterations.
_COMMON = (
    "train.max_iter=60", "train.display=1", "train.test_interval=13", "train.test_iter=2",
    "train.snapshot=5", "train.batch_size=8", "net1.threads=1", "net2.threads=1",
    "net2.solver=net2_solver.prototxt",
)  # fmt: skip
_DROPOUT = 'layer { name: "drop5" type: "Dropout" bottom: "ip1" top: "ip1" }\n'

#: The couplings that the trainings take in turn.
COUPLINGS = {
    "gradient": ("update.rule=solver", "coupling.target=gradient", "coupling.tie=start"),
    "updated": (
        "update.rule=manual", "coupling.target=updated", "coupling.tie=every",
        "update.learning_rate=0.01",
    ),
    "activation": ("update.rule=solver", "coupling.target=activation", "coupling.tie=never"),
}  # fmt: skip

#: What runs in the child before the command does: it arms a fault.
Arm = Callable[[], None]


class Training:
    """One run directory and the processes that work on it.

    Args:
        run_dir: its directory, relative to the lab's, which is the working directory.
        settings: `key=value` for `--set`.
    """

    def __init__(self, run_dir: str, settings: tuple[str, ...]) -> None:
        self.run_dir, self.settings = run_dir, settings
        #: What the names of its processes' output begin with.
        self.output = run_dir
        self.pids: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        #: How the life ended that a part is about, for its row.
        self.first_code: Optional[int] = None

    def start(self, role: str, arm: Optional[Arm] = None, *extra: str) -> int:
        """Start a half; returns its process number.

        Args:
            arm: called in the new process before the command.
            extra: further `key=value` for this start.
        """
        pid = self.fork(f"{role}.err", lambda: dualnet.cli.main(self.command(role, *extra)), arm)
        self.pids[role] = pid
        self.codes.pop(role, None)
        return pid

    def command(self, role: str, *extra: str) -> list[str]:
        """The command line of a half, without the program."""
        words = [role, "configs/digits.yaml", "--run-dir", self.run_dir]
        for setting in (*_COMMON, *self.settings, *extra):
            words += ["--set", setting]
        return words

    def fork(self, output: str, run: Callable[[], int], arm: Optional[Arm] = None) -> int:
        """Run something in a child whose output goes to `self.output`-OUTPUT."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            fd = os.open(f"{self.output}-{output}", flags, 0o600)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            if arm is not None:
                arm()
            code = run()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def running(self, role: str) -> bool:
        """Whether a half still runs; its exit code is in `codes` afterwards."""
        if role in self.codes or role not in self.pids:
            return False
        pid, status = os.waitpid(self.pids[role], os.WNOHANG)
        if not pid:
            return True
        self._ended(role, status)
        return False

    def wait(self, role: str, limit_s: float = 120.0) -> Optional[int]:
        """The exit code of a half (minus the signal's number); None if it takes too long."""
        deadline_s = time.monotonic() + limit_s
        while self.running(role):
            if time.monotonic() > deadline_s:
                return None
            time.sleep(0.002)
        return self.codes[role]

    def kill(self, role: str, number: int = signal.SIGKILL) -> int:
        """Signal a half and wait for its end; returns its exit code."""
        self.signal(role, number)
        if role not in self.codes:
            self._ended(role, os.waitpid(self.pids[role], 0)[1])
        return self.codes[role]

    def signal(self, role: str, number: int) -> None:
        """Signal a half, if it is still there."""
        if self.running(role):
            os.kill(self.pids[role], number)

    def end(self) -> None:
        """Leave no process behind."""
        for role in list(self.pids):
            self.kill(role)

    def log(self, role: str) -> str:
        """What a half has logged so far."""
        try:
            return Path(self.run_dir, f"{role}.log").read_text(errors="replace")
        except OSError:
            return ""

    def errors(self, role: str) -> str:
        """The last line of a half's output."""
        try:
            text = Path(f"{self.output}-{role}.err").read_text(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.startswith("dualnet: ")]
        return lines[-1] if lines else text[-300:]

    def reached(self, role: str) -> int:
        """The highest iteration that a half has logged, -1 before the first."""
        shown = re.findall(r"\] Iteration (\d+) \(", self.log(role))
        return max(map(int, shown), default=-1)

    def phase(self, role: str) -> str:
        """What a half does: starting, recovery (doing again what it did), training or ending."""
        text = self.log(role)
        life = text[max(0, text.rfind(f"dualnet {role} on ")) :]
        before = text[: len(text) - len(life)]
        if not life:
            return "starting"
        if "Optimization Done." in life:
            return "ending"
        earlier = max(map(int, re.findall(r"\] Iteration (\d+) \(", before)), default=-1)
        shown = re.findall(r"\] Iteration (\d+) \(", life)
        if not shown:
            return "recovery" if "Restoring previous" in life else "starting"
        return "recovery" if int(shown[-1]) <= earlier else "training"

    def _ended(self, role: str, status: int) -> None:
        if os.WIFSIGNALED(status):
            self.codes[role] = -os.WTERMSIG(status)
        else:
            self.codes[role] = os.WEXITSTATUS(status)


class Lab:
    """A working directory as a user has one, with reference trainings that nobody disturbs.

    Args:
        folder: an empty folder; the process changes into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: dict[tuple[str, ...], str] = {}
        os.environ["GLOG_minloglevel"] = "1"  # noqa: SIM112 (glog's own name)
        for name in ("configs", "prototxt"):
            (folder / name).symlink_to(ROOT / name)
        os.chdir(folder)
        prepare("digits", out=folder / "data" / "digits")
        net = (ROOT / "prototxt/digits/net2_train_test.prototxt").read_text()
        place = net.index('layer {\n  name: "ip2"')
        (folder / "net2.prototxt").write_text(net[:place] + _DROPOUT + net[place:])
        solver = (ROOT / "prototxt/digits/net2_solver.prototxt").read_text()
        solver = re.sub(r'net: ".*"', 'net: "net2.prototxt" average_loss: 4', solver)
        (folder / "net2_solver.prototxt").write_text(solver)
        # What the halves import when they start.
        import dualnet.train.start.progress
        import dualnet.train.start.run  # noqa: F401

        assert_provider = backend.caffe  # the door opens on the first look
        self.provider = backend.provider if assert_provider else ""

    @contextmanager
    def training(self, name: str, settings: tuple[str, ...] = ()) -> Iterator[Training]:
        """A new training; its processes end with the context, its files stay after a failure."""
        training = Training(name, settings)
        try:
            yield training
        finally:
            training.end()

    def whole(self, settings: tuple[str, ...]) -> str:
        """The run directory of an undisturbed training with these settings."""
        if settings not in self._whole:
            name = f"whole{len(self._whole)}"
            with self.training(name, settings) as training:
                for role in ROLES:
                    training.start(role)
                codes = {role: training.wait(role) for role in ROLES}
            if set(codes.values()) != {0}:
                raise RuntimeError(
                    f"an undisturbed training ended with {codes}: {training.errors('net1')} "
                    f"{training.errors('net2')}"
                )
            self._whole[settings] = name
        return self._whole[settings]

    def verdict(self, training: Training) -> str:
        """What is wrong with a training that has come to its end; "" if nothing is."""
        codes = {role: training.wait(role) for role in ROLES}
        if set(codes.values()) != {0}:
            said = " | ".join(training.errors(role) for role in ROLES)
            return f"exit codes {codes}: {said}"
        return same(self.whole(training.settings), training.run_dir)

    def remove(self, training: Training) -> None:
        """Remove the files of a training."""
        shutil.rmtree(training.run_dir, ignore_errors=True)
        for path in self.folder.glob(f"{training.run_dir}-*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def same(one: str, other: str) -> str:
    """How two runs differ in weights, solver history, losses or tests; "" if they do not."""
    if digest(RunDir(one)) != digest(RunDir(other)):
        return "the digest differs"
    for role in ROLES:
        if _rows(one, role) != _rows(other, role):
            return f"the losses of {role} differ"
        if commit.complete(RunDir(one).piece(role)) and not commit.complete(
            RunDir(other).piece(role)
        ):
            return f"{role} is not marked as complete"
    # One that dies while it writes these two before anybody else cannot know whose file that is.
    early = ("config.yaml.", "run.json.")
    left = [name for name in os.listdir(other) if "tmp" in name and not name.startswith(early)]
    left += [name for name in os.listdir(f"{other}/exchange") if name.startswith(".tmp")]
    return f"left behind: {', '.join(left)}" if left else ""


def _rows(run_dir: str, role: str) -> Any:
    """What a log says about iterations and tests, without times."""
    log = parse_log(os.path.join(run_dir, f"{role}.log"))

    def facts(rows: Any) -> list[Any]:
        return [(row.iteration, row.loss, row.learning_rate, row.outputs) for row in rows]

    return log.done, facts(log.train), {net: facts(rows) for net, rows in log.tests.items()}
