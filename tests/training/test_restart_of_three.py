"""Three pieces, of which any may die, hang or be stopped: the result is the same to the bit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dualnet import config as cfg
from dualnet.cut.split import Request, split, write
from dualnet.errors import NeighbourDied, NeighbourHung
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.start.run import train_piece
from tests.processes import children_of, is_alive, wait_for
from tests.training.pieces import QUIET
from tests.training.test_restart import SHORT, equal, one_by_one, run_chain

__all__ = ["one_by_one"]  # a fixture that every test here needs

THREE = ("net1", "net2", "net3")
SINGLE = "prototxt/digits/single_train_test.prototxt"
ONE_THREAD = tuple(f"{name}.threads=1" for name in THREE)


def load(*overrides):
    """The digits net as a chain of three, quiet but for what is overridden."""
    return cfg.load("cut/dual.yaml", [*QUIET, *ONE_THREAD, *overrides])


@pytest.fixture(autouse=True)
def cut(workdir):
    """Cuts the digits net at pool1 and at pool2."""
    request = Request(SINGLE, [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])], "cut")
    write(request, split(request))


def train_three(run_dir, *overrides, **crashes):
    run_chain(run_dir, *overrides, make=load, **crashes)


def in_threads(work, names=THREE):
    """Do something for each piece at the same time; returns what each raised or returned."""
    found = {}

    def call(name):
        try:
            found[name] = work(name)
        except BaseException as error:  # handed to the test
            found[name] = error

    threads = [threading.Thread(target=call, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive(), "a piece hangs"
    return found


RULES = {
    "alternating": ("coupling.target=updated", "coupling.tie=every", "update.rule=manual",
                    "update.learning_rate=0.01"),
    "overlapped": ("train.schedule=overlapped", "coupling.target=backprop",
                   "exchange.carrier=tcp"),
    "pipelined": ("train.schedule=pipelined", "train.micro_batches=4", "cut2.target=prox"),
}  # fmt: skip


@pytest.mark.parametrize("schedule", RULES)
def test_crashes_of_any_piece_change_nothing(schedule):
    train_three("whole", *SHORT, *RULES[schedule])
    # Before there is a checkpoint, at one and between two; net2 has two neighbours that wait.
    train_three("parts", *SHORT, *RULES[schedule], net1=(7,), net2=(1, 5, 6, 9), net3=(1, 10))
    equal("whole", "parts", THREE)
    for name in THREE:
        assert commit.complete(RunDir("parts").piece(name))
    log = Path("parts/net2.log").read_text()
    assert "start 5" in log and "messages sent again, equal to the bit" in log
    assert not list(Path("parts/exchange").rglob("*.npy"))


@pytest.mark.parametrize("schedule", RULES)
def test_all_are_stopped_and_go_on(schedule):
    """As by SIGTERM to all pieces, which batch systems send."""
    train_three("whole", *SHORT, *RULES[schedule])
    config = load(*SHORT, *RULES[schedule])
    stoppers = {name: Stopper(20.0) for name in THREE}

    def arm(session):
        def look(done):
            if done == 5:
                for stopper in stoppers.values():
                    stopper.requested = True

        session.on_progress = look

    ended = in_threads(
        lambda name: train_piece(
            config, RunDir("parts").piece(name), progress=arm, stopper=stoppers[name]
        )
    )
    for name, error in ended.items():
        assert isinstance(error, Stopped), error
        assert error.exit_code == 0 and f"the same command continues {name}" in str(error)
        assert commit.latest(RunDir("parts").piece(name)).iteration >= 4
    train_three("parts", *SHORT, *RULES[schedule])
    equal("whole", "parts", THREE)


def test_all_go_back_together_when_the_messages_between_are_gone():
    settings = (*SHORT, "train.max_iter=6")
    train_three("whole", *settings)
    for victim in THREE:
        # The messages were deleted when all were complete.
        run = Path(f"without-{victim}")
        shutil.copytree("whole", run)
        path = run / f"{victim}_iter_6.solverstate"
        path.write_bytes(path.read_bytes()[:-1])
        train_three(str(run), *settings)
        equal("whole", run, THREE)
        logs = {name: (run / f"{name}.log").read_text() for name in THREE}
        assert any(
            "all pieces go back to iteration 4: " in log
            and f"{victim}_iter_6.solverstate has" in log
            for log in logs.values()
        )
        assert all(f"from {run}/{name}_iter_4.solverstate" in logs[name] for name in THREE)


def test_a_hung_piece_is_named_by_all_below_and_then_goes_on():
    train_three("whole", *SHORT)
    run = RunDir("parts")
    is_suspended, may_go_on = threading.Event(), threading.Event()

    def suspend(session):
        def look(done):
            if done == 5:
                is_suspended.set()
                may_go_on.wait(60)

        session.on_progress = look

    def start(name, *settings, progress=None):
        errors = []

        def train():
            try:
                train_piece(load(*SHORT, *settings), run.piece(name), progress=progress)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=train, daemon=True)
        thread.start()

        def end():
            thread.join(100)
            assert not thread.is_alive(), f"{name} hangs"
            return errors[0] if errors else None

        return end

    net1 = start("net1", "exchange.restart_grace_s=0")
    net3 = start("net3", "exchange.restart_grace_s=60", progress=suspend)
    # Both nets are built: from now on all make progress, and a short limit does not hurt.
    wait_for(lambda: all("Coupling" in log_of(run, name) for name in ("net1", "net3")))
    net2 = start("net2", "exchange.hang_timeout_s=2.5")
    error = net2()
    assert isinstance(error, NeighbourHung) and is_suspended.is_set(), error
    assert "net3 is alive but has made no progress" in str(error)
    told = net1()
    assert isinstance(told, NeighbourDied) and "net2 is gone" in str(told), told
    assert "net3 is alive but has made no progress" in str(told)
    # The same commands again, and net3 wakes up: it has waited for net2 to come back.
    again = [start(name) for name in ("net1", "net2")]
    may_go_on.set()
    assert [end() for end in (*again, net3)] == [None] * 3
    equal("whole", "parts", THREE)


def log_of(run, name):
    path = Path(run.piece(name).log)
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_pieces_stop_when_their_launcher_is_killed(dualnet):
    settings = ("train.max_iter=150", "train.display=1", "train.snapshot=10", *ONE_THREAD)
    words = [word for text in (*QUIET, *settings) for word in ("--set", text)]
    run = RunDir("parts")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "dualnet", "train", "cut/dual.yaml", *words, "--run-dir", "parts"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: "Iteration 11 (" in log_of(run, "net3"))
        children = children_of(launcher.pid)
    finally:
        launcher.kill()
        launcher.wait()
    assert len(children) == 3
    wait_for(lambda: not any(map(is_alive, children)))
    for name in THREE:
        told = Path(run.piece(name).output).read_text().strip().splitlines()[-1]
        match = re.fullmatch(
            rf"dualnet: stopped by SIGTERM; iteration (\d+); the same command continues {name} "
            "from (here|its last checkpoint)",
            told,
        )
        assert match is not None, told
        # A signal amid an iteration that hangs on a neighbour makes no checkpoint.
        reached = int(match.group(1))
        newest = commit.latest(run.piece(name)).iteration
        assert newest == reached if match.group(2) == "here" else newest >= 10
        assert newest < 150
    # As processes of their own both: how many threads add up a sum is the process's.
    for run_dir in ("parts", "whole"):
        assert dualnet("train", "cut/dual.yaml", *words, "--run-dir", run_dir).returncode == 0
    equal("whole", "parts", THREE)
