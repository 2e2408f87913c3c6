"""One training of a chain: a run directory, and its pieces as processes that one may kill.

Each piece runs the `dualnet` command in a process of its own. The process is forked from this one,
where the libraries are imported already: a start takes a tenth of a second instead of three, so
that a thousand kills are minutes. The command line, the signals and the files are the real ones.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Optional

import dualnet.cli
from scripts.fault_campaign.chain import Chain

__all__ = ["Arm", "Training"]

#: What runs in the child before the command does: it arms a fault.
Arm = Callable[[], None]


class Training:
    """One run directory and the processes that work on it.

    Args:
        run_dir: its directory, relative to the lab's, which is the working directory.
        settings: `key=value` for `--set`.
        chain: the pieces.
    """

    def __init__(self, run_dir: str, settings: tuple[str, ...], chain: Chain) -> None:
        self.run_dir, self.settings, self.chain = run_dir, settings, chain
        #: What the names of its processes' output begin with.
        self.output = run_dir
        self.pids: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        #: How the life ended that a part is about, for its row.
        self.first_code: Optional[int] = None

    def start(self, piece: str, arm: Optional[Arm] = None, *extra: str) -> int:
        """Start a piece; returns its process number.

        Args:
            piece: which.
            arm: called in the new process before the command.
            extra: further `key=value` for this start.
        """
        words = self.command(piece, *extra)
        pid = self.fork(f"{piece}.err", lambda: dualnet.cli.main(words), arm)
        self.pids[piece] = pid
        self.codes.pop(piece, None)
        return pid

    def start_all(self, arm: Optional[Arm] = None, *extra: str) -> None:
        """Start all pieces; see `start`."""
        for piece in self.chain.names:
            self.start(piece, arm, *extra)

    def command(self, name: str, *extra: str) -> list[str]:
        """The command line of a piece, or of `train`, without the program."""
        words = [name, self.chain.config, "--run-dir", self.run_dir]
        for setting in (*self.chain.common, *self.settings, *extra):
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

    def running(self, piece: str) -> bool:
        """Whether a piece still runs; its exit code is in `codes` afterwards."""
        if piece in self.codes or piece not in self.pids:
            return False
        pid, status = os.waitpid(self.pids[piece], os.WNOHANG)
        if not pid:
            return True
        self._ended(piece, status)
        return False

    def wait(self, piece: str, limit_s: float = 180.0) -> Optional[int]:
        """The exit code of a piece (minus the signal's number); None if it takes too long."""
        deadline_s = time.monotonic() + limit_s
        while self.running(piece):
            if time.monotonic() > deadline_s:
                return None
            time.sleep(0.002)
        return self.codes[piece]

    def wait_all(self, limit_s: float = 180.0) -> dict[str, Optional[int]]:
        """The exit codes of all pieces."""
        return {piece: self.wait(piece, limit_s) for piece in self.chain.names}

    def kill(self, piece: str, number: int = signal.SIGKILL) -> int:
        """Signal a piece and wait for its end; returns its exit code."""
        self.signal(piece, number)
        if piece not in self.codes:
            self._ended(piece, os.waitpid(self.pids[piece], 0)[1])
        return self.codes[piece]

    def signal(self, piece: str, number: int) -> None:
        """Signal a piece, if it is still there."""
        if self.running(piece):
            os.kill(self.pids[piece], number)

    def end(self) -> None:
        """Leave no process behind."""
        for piece in list(self.pids):
            self.kill(piece)

    def log(self, piece: str) -> str:
        """What a piece has logged so far."""
        try:
            return Path(self.run_dir, f"{piece}.log").read_text(errors="replace")
        except OSError:
            return ""

    def errors(self, piece: str) -> str:
        """The last line of a piece's output."""
        try:
            text = Path(f"{self.output}-{piece}.err").read_text(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.startswith("dualnet: ")]
        return lines[-1] if lines else text[-300:]

    def all_errors(self) -> str:
        """The last lines of all pieces' output."""
        return " | ".join(map(self.errors, self.chain.names))

    def reached(self, piece: str) -> int:
        """The highest iteration that a piece has logged, -1 before the first."""
        shown = re.findall(r"\] Iteration (\d+) \(", self.log(piece))
        return max(map(int, shown), default=-1)

    def all_have_reached(self, iteration: int) -> bool:
        """Whether every piece has logged an iteration."""
        return all(self.reached(piece) >= iteration for piece in self.chain.names)

    def phase(self, piece: str) -> str:
        """What a piece does: starting, recovery (repeating what it did), training or ending."""
        text = self.log(piece)
        life = text[max(0, text.rfind(f"dualnet {piece} on ")) :]
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

    def _ended(self, piece: str, status: int) -> None:
        if os.WIFSIGNALED(status):
            self.codes[piece] = -os.WTERMSIG(status)
        else:
            self.codes[piece] = os.WEXITSTATUS(status)
