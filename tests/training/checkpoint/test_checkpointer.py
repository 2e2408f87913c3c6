"""A checkpoint is all that there is to go back to; full disks, signals: test_session.py."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.errors import StorageFailed
from dualnet.process.stopping import Stopper
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.checkpointer import Checkpointer
from dualnet.training.loop.links import Links
from tests.training.pieces import make_nets, weights_of

#: net1 with momenta of its own: what Caffe's files do not hold.
LATE = ("train.schedule=overlapped", "train.staleness=1", "train.snapshot=2", "train.max_iter=9")


@pytest.fixture
def checkpointer(workdir):
    """Makes the checkpointer of another start of net1."""
    logs = []

    def make(storage_timeout_s=0.0):
        nets = make_nets("net1", "run", *LATE, f"exchange.storage_timeout_s={storage_timeout_s}")
        logs.append(CaffeLog("run/net1.log"))
        return Checkpointer(nets, logs[-1], Links(), Stopper(0.0), reports.append)

    reports = []
    make.reports = reports
    yield make
    for log in logs:
        log.close()


def learn(nets, seed):
    random = np.random.RandomState(seed)
    gradients = {n: random.randn(*w.shape).astype("f") for n, w in weights_of(nets).items()}
    nets.train.set_parameter_diffs(gradients)
    nets.update()


def test_it_goes_on_from_there_as_if_nothing_had_been(checkpointer):
    first = checkpointer()
    for iteration in (0, 1):
        learn(first.nets, iteration)
    assert first.latest == -1
    first.write(commit.Commit("net1", 2))
    assert first.latest == 2
    learn(first.nets, 2)

    second = checkpointer()
    found = commit.latest(RunDir("run").piece("net1"))
    assert found.iteration == 2 and not found.complete
    second.restore(2, 0, lambda: None)
    second.restore_extras(commit.latest(RunDir("run").piece("net1")))
    assert second.latest == 2
    learn(second.nets, 2)
    for name, values in weights_of(first.nets).items():
        np.testing.assert_array_equal(weights_of(second.nets)[name], values, name)


def test_the_latest_one_is_marked_when_nothing_is_left_to_do(checkpointer):
    made = checkpointer()
    for iteration in (2, 4):
        made.write(commit.Commit("net1", iteration))
    made.mark_complete()
    found = commit.latest(RunDir("run").piece("net1"))
    assert (found.iteration, found.complete) == (4, True)


def test_one_in_a_hurry_tries_once(checkpointer, monkeypatch):
    tries = []

    def full(nets, iteration):
        tries.append(iteration)
        raise OSError(28, "No space left on device")

    made = checkpointer(storage_timeout_s=1000.0)
    monkeypatch.setattr("dualnet.training.checkpoint.caffe_files.save", full)
    made.stop_retrying()
    with pytest.raises(StorageFailed, match="net1's checkpoint of iteration 2 in run: ENOSPC"):
        made.write(commit.Commit("net1", 2))
    assert tries == [2] and made.latest == -1 and checkpointer.reports == []
