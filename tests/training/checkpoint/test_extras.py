"""What error feedback leaves over is part of the checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dualnet.exchange.codec import Codec
from dualnet.rundir import RunDir, Snapshot
from dualnet.training.checkpoint import commit, extras


def channel() -> Codec:
    return Codec({"up": "int8"}, error_feedback=True)


def at(folder: Path, iteration: int) -> Snapshot:
    return RunDir(str(folder)).piece("net1").at(iteration)


def test_there_and_back(tmp_path):
    before, after = channel(), channel()
    values = np.random.RandomState(1).randn(3, 2, 2).astype(np.float32)
    before.restore({"up/pool2": values, "up/file": values[:1]})
    (path,) = extras.save("exchange", before, at(tmp_path, 7))
    assert os.listdir(tmp_path) == ["net1_iter_7.exchange.npz"]
    extras.restore("exchange", after, at(tmp_path, 7))
    assert set(after.state()) == {"up/pool2", "up/file"}
    np.testing.assert_array_equal(after.state()["up/pool2"], values)
    assert path == at(tmp_path, 7).extras("exchange")


def test_nothing_to_hold_is_no_file(tmp_path):
    assert extras.save("exchange", channel(), at(tmp_path, 7)) == []
    extras.restore("exchange", channel(), at(tmp_path, 7))
    assert os.listdir(tmp_path) == []


def test_it_belongs_to_the_checkpoint(tmp_path):
    """A checkpoint whose file is damaged is none, and the file goes with its checkpoint."""
    net1 = RunDir(str(tmp_path)).piece("net1")
    for iteration in (1, 2, 3):
        end = channel()
        end.restore({"up/pool2": np.full((2, 2), iteration, np.float32)})
        paths = extras.save("exchange", end, net1.at(iteration))
        commit.write(net1, commit.Commit("net1", iteration), *paths)
        commit.prune(net1, 2, iteration)
    assert sorted(name for name in os.listdir(tmp_path) if name.endswith(".npz")) == [
        "net1_iter_2.exchange.npz",
        "net1_iter_3.exchange.npz",
    ]
    with open(net1.at(3).extras("exchange"), "r+b") as file:
        file.truncate(100)
    found = commit.latest(net1)
    assert found is not None and found.iteration == 2
