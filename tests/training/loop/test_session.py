"""Order and numbers of tests, log lines and snapshots, against Caffe's own solver."""

from __future__ import annotations

import os
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from dualnet.config import Convergence
from dualnet.errors import StorageFailed
from dualnet.exchange.channel import Counters
from dualnet.exchange.disk import storage
from dualnet.exchange.link import Link
from dualnet.fs import Fs
from dualnet.process.stopping import Stopped
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.loop.links import Links
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.solver_settings import NEVER
from tests.training.pieces import make_nets, make_session

#: Differs from Caffe's defaults in all that the order of things depends on.
SETTINGS = (
    "train.max_iter=6", "train.display=2", "train.test_interval=3", "train.test_iter=2",
    "train.snapshot=4",
)  # fmt: skip


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Makes a session without nets, for what depends on the solver's numbers only."""

    def make(storage_timeout_s=0.0, **solver):
        settings = {
            "max_iter": 10, "test_iter": [2], "test_interval": 4, "test_initialization": True,
            "display": 1, "snapshot": 0, "average_loss": 1, **solver,
        }  # fmt: skip
        nets = SimpleNamespace(
            resolved=SimpleNamespace(
                dir=RunDir(str(tmp_path)).piece("net2"),
                solver=SimpleNamespace(**settings), display=settings["display"],
                net=SimpleNamespace(name="net"), max_iter=settings["max_iter"],
            ),
            config=SimpleNamespace(
                train=SimpleNamespace(stop_on_nan=True, keep=2),
                convergence=Convergence(),
                exchange=SimpleNamespace(storage_timeout_s=storage_timeout_s),
                names=("net1", "net2"), batches_ahead=lambda name: 0,
            ),
            name="net2",
            train=SimpleNamespace(outputs=lambda: []),
            update_rule=SimpleNamespace(rate=lambda: 0.5, state=dict),
        )  # fmt: skip
        logs.append(CaffeLog(tmp_path / "log"))
        return Session(nets, logs[-1])

    def save(nets, iteration):
        paths = [f"{iteration}.{kind}" for kind in ("caffemodel", "solverstate")]
        for path in paths:
            (tmp_path / path).write_text("")
        return tuple(str(tmp_path / path) for path in paths)

    logs = []
    monkeypatch.setattr("dualnet.training.checkpoint.caffe_files.save", save)
    yield make
    for log in logs:
        log.close()


def messages(path, source=r"\S+"):
    """A log's messages without glog's prefix and what depends on time and place.

    Args:
        path: The log.
        source: Pattern of the source files whose messages count.
    """
    lines = []
    with open(str(path), errors="replace") as file:
        log = file.read()
    for line in log.splitlines():
        match = re.match(rf"[IWE]\d{{4,8}} \S+ +\d+ {source}:\d+\] (.*)", line)
        if match:
            text = re.sub(r"\([^()]* iter/s, [^()]*\)", "(speed)", match.group(1))
            lines.append(re.sub(r" file .*", " file", text))
    return lines


# When.


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ({}, [0, 4, 8, 10]),
        ({"test_initialization": False}, [4, 8, 10]),
        ({"max_iter": 8}, [0, 4, 8]),
        ({"test_interval": 100}, [0, 10]),
        ({"test_interval": 1, "max_iter": 3}, [0, 1, 2, 3]),
        ({"test_interval": NEVER, "test_initialization": False}, []),
    ],
)
def test_tests_are_due_as_in_caffe_and_at_the_end(session, solver, expected):
    made = session(**solver)
    assert [i for i in range(made.max_iter + 1) if made.is_test_due(i)] == expected


@pytest.mark.parametrize(
    ("interval", "expected"), [(0, [10]), (4, [4, 8, 10]), (5, [5, 10]), (100, [10])]
)
def test_snapshots_at_the_interval_and_once_at_the_end(session, tmp_path, interval, expected):
    made = session(snapshot=interval)
    for iteration in made.iterations():
        made.completed(iteration)
    made.finish()
    log = (tmp_path / "log").read_text()
    assert re.findall(r"file \S+/(\d+)\.caffemodel", log) == [str(i) for i in expected]


def test_checkpoint_that_cannot_be_written(session, monkeypatch):
    def full(nets, iteration):
        raise OSError(28, "No space left on device")

    made = session(snapshot=4)
    monkeypatch.setattr("dualnet.training.checkpoint.caffe_files.save", full)
    with pytest.raises(StorageFailed, match="net2's checkpoint of iteration 4 in .*: ENOSPC"):
        for iteration in made.iterations():
            made.completed(iteration)


def test_checkpoint_is_tried_until_there_is_room(session, tmp_path, monkeypatch):
    made = session(snapshot=4, storage_timeout_s=100.0)
    real, tries, states = caffe_files.save, [], []

    def save(nets, iteration):
        tries.append(iteration)
        if len(tries) < 4:
            raise OSError(28, "No space left on device")
        return real(nets, iteration)

    monkeypatch.setattr("dualnet.training.checkpoint.caffe_files.save", save)
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.01)
    presence = SimpleNamespace(report=states.append, progress=lambda: None)
    channel = SimpleNamespace(
        link=Link("net1", "net2"), seq_sent=0, seq_received=0, awaited="", counters=Counters(),
        checkpoint_passed=lambda iteration: states.append(f"passed {iteration}"),
    )  # fmt: skip
    made.links = Links([channel], presence)
    for iteration in made.iterations():
        made.completed(iteration)
    assert tries == [4, 4, 4, 4, 8, 10]
    blocked = ["blocked:ENOSPC"] * 3
    assert states == [*blocked, "running", "passed 4", "passed 8", "passed 10"]
    log = (tmp_path / "log").read_text()
    assert log.count("Cannot write the checkpoint (blocked:ENOSPC); trying on") == 1
    assert log.count("Writing the checkpoint works again") == 1


def test_signal_ends_the_wait_for_room_without_waiting_again(session, monkeypatch):
    made = session(snapshot=4, storage_timeout_s=1e6)

    def full(nets, iteration):
        assert made.stopper._holds  # no signal cuts a checkpoint in two
        raise OSError(28, "No space left on device")

    def alarm(duration_s):
        assert not made.stopper._holds
        raise made.stopper.error()

    monkeypatch.setattr("dualnet.training.checkpoint.caffe_files.save", full)
    monkeypatch.setattr(Fs, "sleep", lambda fs, duration_s: alarm(duration_s))
    with pytest.raises(Stopped):
        for iteration in made.iterations():
            made.completed(iteration)
    with pytest.raises(StorageFailed):
        made.stop()


def test_within_an_iteration_there_is_no_checkpoint(session):
    made = session()
    next(made.iterations())
    made.begun()
    with pytest.raises(RuntimeError, match="call it between completed"):
        made.snapshot()
    assert not made.stop()


def test_progress_is_told_after_each_iteration(session):
    made = session(max_iter=3)
    told = []
    made.on_progress = told.append
    for iteration in made.iterations():
        made.completed(iteration)
    assert told == [1, 2, 3] and made.iteration == 3


# Tests.


def test_test_outputs_are_means_over_the_batches(session, tmp_path):
    made = session()
    for accuracy, per_class in ((0.5, [1.0, 0.0]), (1.0, [0.5, 0.5])):
        made.test_means.add([
            ("accuracy", np.array([accuracy]), 0.0), ("loss", np.array(per_class), 2.0),
        ])  # fmt: skip
    made.show_test(4)
    assert messages(tmp_path / "log") == [
        "Iteration 4, Testing net (#0)",
        "    Test net output #0: accuracy = 0.75",
        "    Test net output #1: loss = 0.75 (* 2 = 1.5 loss)",
        "    Test net output #2: loss = 0.25 (* 2 = 0.5 loss)",
    ]
    assert made.test_outputs == {"accuracy": 0.75, "loss": 0.75}
    # The next test begins anew.
    made.test_means.add([("accuracy", np.array([0.25]), 0.0)])
    made.show_test(8)
    assert made.test_outputs == {"accuracy": 0.25}


# All of it.


def test_single_run_writes_caffes_lines_in_caffes_order(workdir):
    nets = make_nets("single", "run", *SETTINGS)
    session = make_session(nets)
    PieceLoop(nets, session).run()
    session.log.close()
    kinds = [re.sub(r"= [-\d.e]+", "= _", line) for line in messages("run/single.log")]

    def test(iteration):
        return [f"Iteration {iteration}, Testing net (#0)",
                "    Test net output #0: accuracy = _",
                "    Test net output #1: loss = _ (* 1 = _ loss)"]  # fmt: skip

    def training(iteration):
        return [f"Iteration {iteration} (speed), loss = _",
                "    Train net output #0: loss = _ (* 1 = _ loss)",
                f"Iteration {iteration}, lr = _"]  # fmt: skip

    snapshot = [
        "Snapshotting to binary proto file",
        "Snapshotting solver state to binary proto file",
    ]
    assert kinds == [
        "Solving digits_single", *test(0), *training(0), *training(2), *test(3), *snapshot,
        *training(4), *snapshot, *test(6), "Optimization Done.",
    ]  # fmt: skip
    assert sorted(name for name in os.listdir("run") if "_iter_" in name) == [
        f"single_iter_{i}.{kind}"
        for i in (4, 6)
        for kind in ("caffemodel", "checkpoint.json", "solverstate")
    ]


CAFFES_OWN = """
import caffe
solver = caffe.get_solver("caffe/single_solver.prototxt")
solver.solve()
"""


@pytest.mark.bvlc
def test_numbers_are_those_of_caffes_own_solver(workdir, bvlc_python, repository):
    # The same training twice on the real Caffe: by its own solver, and step by step by dualnet.
    environment = {**os.environ, "PYTHONPATH": str(repository), "GLOG_minloglevel": "0",
                   "DUALNET_CAFFE": "bvlc", "OMP_NUM_THREADS": "1"}  # fmt: skip
    environment["OPENBLAS_NUM_THREADS"] = "1"
    settings = [*SETTINGS, "train.batch_size=8", "seed=4"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [bvlc_python, "-m", "dualnet", "single", "configs/digits.yaml", "--run-dir", "run",
         *overrides, "--set", "single.threads=1"],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    os.mkdir("caffe")
    solver = (workdir / "run/single_solver.prototxt").read_text()
    solver = re.sub(r"run/\.single\.tmp[^\"]*", "caffe/single", solver)
    assert "display: 0" in solver
    solver = solver.replace("display: 0", "display: 2")
    (workdir / "caffe/single_solver.prototxt").write_text(solver)
    with open("caffe.log", "w") as log:
        done = subprocess.run(
            [bvlc_python, "-c", CAFFES_OWN], env=environment, stderr=log, timeout=300
        )
    assert done.returncode == 0

    theirs = messages("caffe.log", source=r"(?:sgd_)?solver\.cpp")
    theirs = theirs[theirs.index("Solving digits_single") :]
    assert theirs.pop(1).startswith("Learning Rate Policy")
    # One more forward pass than training needs, only for this line: not made here.
    (last,) = [line for line in theirs if re.match(r"Iteration 6, loss = ", line)]
    theirs.remove(last)
    ours = messages("run/single.log")
    ours = ours[ours.index("Solving digits_single") :]
    assert ours == theirs
    for name in ("single_iter_4", "single_iter_6"):
        for kind in ("caffemodel", "solverstate"):
            assert os.path.exists(f"caffe/{name}.{kind}") and os.path.exists(f"run/{name}.{kind}")
