"""What a training's end is called; that it goes on from there is in test_restart.py."""

from __future__ import annotations

import os
import signal

import pytest

from dualnet.errors import StorageFailed
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from dualnet.training.start.ending import stoppable
from tests.training.pieces import load


def end_by(error, name, snapshot):
    config = load(f"train.snapshot={snapshot}")
    with stoppable(config, resolve(config, RunDir("run").piece(name)), None):
        raise error


@pytest.mark.parametrize(
    ("name", "snapshot", "can_go_on"),
    [("net1", 2, True), ("net2", 0, False), ("single", 0, True)],
)
def test_a_signal_is_no_failure_where_the_training_can_go_on(workdir, name, snapshot, can_go_on):
    with pytest.raises(Stopped) as caught:
        end_by(Stopped(signal.SIGTERM), name, snapshot)
    assert caught.value.exit_code == (0 if can_go_on else 128 + signal.SIGTERM)
    assert (f"continues {name} from its last checkpoint" in str(caught.value)) == can_go_on


def test_who_knows_better_where_it_goes_on_is_not_contradicted(workdir):
    with pytest.raises(Stopped, match="iteration 7; here$"):
        end_by(Stopped(signal.SIGTERM, "iteration 7; here"), "net1", 2)


def test_errors_of_the_disk_are_named(workdir):
    with pytest.raises(StorageFailed, match=r"^net2: run/net2.log: Input/output error; check the"):
        end_by(OSError(5, os.strerror(5), "run/net2.log"), "net2", 2)


def test_signals_are_taken_by_one_stopper(workdir):
    config = load()
    with (
        Stopper(1.0) as outer,
        stoppable(config, resolve(config, RunDir("run").piece("net1")), outer) as inner,
    ):
        assert inner is outer
