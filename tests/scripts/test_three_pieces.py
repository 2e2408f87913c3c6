"""A chain of three pieces as users start it: by hand on several nodes, or all at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet.cut.split import Request, split, write
from dualnet.rundir import RunDir
from dualnet.training.outcome.digest import digest
from tests.processes import LIMIT_S, children_of, wait_for
from tests.scripts.shell import environment, program

pytestmark = pytest.mark.slow

OPTIONS = [
    word
    for setting in (
        "train.max_iter=40", "train.snapshot=5", "train.display=1", "train.batch_size=8",
        "train.test_interval=8", "train.test_iter=2", "exchange.restart_grace_s=120",
        "net1.threads=1", "net2.threads=1", "net3.threads=1",
    )
    for word in ("--set", setting)
]  # fmt: skip


@pytest.fixture
def yaml(workdir: Path) -> str:
    """The digits net cut at pool1 and pool2."""
    request = Request(
        "prototxt/digits/single_train_test.prototxt",
        [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])], "three",
        solver="prototxt/digits/single_solver.prototxt",
    )  # fmt: skip
    result = split(request)
    write(request, result)
    return str(workdir / result.yaml)


@pytest.fixture
def start(repository: Path, workdir: Path, yaml: str):
    """Starts pieces with run_net.sh; whatever still runs at the end is killed."""
    # The script enters the repository, which has no data set here.
    python = program(workdir / "python", f'cd "{workdir}" && exec "{sys.executable}" "$@"\n')
    started = []

    def run(number: int, run_dir: str, *more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(repository / "scripts/run_net.sh"), str(number), yaml, str(workdir / run_dir),
             *OPTIONS, *more],
            env=environment(DUALNET_PYTHON=str(python), OMP_WAIT_POLICY="PASSIVE"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def reaches(run_dir: str, name: str, iteration: int):
    """A condition: a piece has shown this iteration."""
    log = Path(run_dir) / f"{name}.log"
    return lambda: log.exists() and f"Iteration {iteration} " in log.read_text()


def test_started_by_hand_in_any_order_or_together_and_killed_it_is_one_training(
    start, dualnet, yaml
):
    processes = {number: start(number, "by_hand") for number in (3, 1, 2)}
    for number, process in processes.items():
        _, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said
        assert f"trained net{number} to iteration 40" in said
    launcher = subprocess.Popen(
        [sys.executable, "-m", "dualnet", "train", yaml, "--run-dir", "run", *OPTIONS,
         "--restarts", "2"], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(reaches("run", "net3", 7))
        killed = 0
        for child in children_of(launcher.pid):
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            if "net1" in words or "net3" in words:
                os.kill(child, signal.SIGKILL)
                killed += 1
        _, said = launcher.communicate(timeout=2 * LIMIT_S)
    finally:
        launcher.kill()
        launcher.communicate()
    assert killed == 2
    assert launcher.returncode == 0, said
    assert "trained net1 to net3" in said
    assert digest(RunDir("run")) == digest(RunDir("by_hand"))


def test_the_last_piece_is_suspended(start):
    """net2 sees it, and net1 is told; neither takes net2 for the one that hangs."""
    patience = ("exchange.hang_timeout_s=8", "exchange.restart_grace_s=0", "train.max_iter=100000")
    more = [word for setting in patience for word in ("--set", setting)]
    net1, net2, net3 = (start(number, "run", *more) for number in (1, 2, 3))
    wait_for(reaches("run", "net3", 3))
    net3.send_signal(signal.SIGSTOP)
    said = {}
    for name, process in (("net1", net1), ("net2", net2)):
        said[name] = process.communicate(timeout=LIMIT_S)[1].strip().splitlines()[-1]
    assert net2.returncode == 72, said
    assert "net3 is alive but has made no progress" in said["net2"]
    assert net1.returncode == 71, said
    assert "net3 is alive but has made no progress" in said["net1"]
