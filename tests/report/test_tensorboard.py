"""Event files: the log's values under its names, each point once however often a piece starts."""

from __future__ import annotations

import errno
import importlib
import os

import numpy as np
import pytest

from dualnet.errors import ConfigError
from dualnet.report import tensorboard
from dualnet.report.log import CaffeLog
from dualnet.report.tensorboard import EventFile, check_installed
from dualnet.rundir import RunDir
from tests.report.event_reader import events, points


@pytest.fixture
def piece(tmp_path):
    """A piece; skips where the library is not installed."""
    pytest.importorskip("tensorboardX")
    return RunDir(str(tmp_path / "run")).piece("net2")


@pytest.fixture
def train(piece):
    """Runs iterations of a start, as a piece logs them: a test before every third."""

    def run(first, last):
        with CaffeLog(piece.log) as log:
            log.listener = EventFile(piece, first)
            log.solving("net")
            for k in range(first, last):
                if k % 3 == 0:
                    log.testing(k, {"accuracy": k / 7, "loss": 1.0})
                log.training(k, 2.0 / (k + 1), {"loss": 2.0 / (k + 1), "a b": [k, -k]}, 0.5)
                log.series({"norm": float(k)})

    return run


def test_series_have_the_log_s_values_and_names(piece, train):
    train(0, 7)
    found = points(piece.events)
    assert sorted(found) == [
        "test/accuracy", "test/loss", "train/a_b", "train/a_b[1]", "train/learning_rate",
        "train/loss", "train/norm", "train/smoothed_loss",
    ]  # fmt: skip
    assert found["train/smoothed_loss"] == {k: np.float32(2.0 / (k + 1)) for k in range(7)}
    assert found["train/a_b[1]"] == {k: float(-k) for k in range(7)}
    assert found["test/accuracy"] == {k: np.float32(k / 7) for k in (0, 3, 6)}


def test_a_start_from_a_checkpoint_neither_loses_nor_repeats_points(piece, train):
    train(0, 7)
    whole = points(piece.events)
    for first, last in ((4, 6), (4, 5), (2, 9), (7, 7), (3, 7)):
        train(first, last)
        found = points(piece.events)
        assert set(found["train/loss"]) == set(range(max(last, first)))
    assert found == whole
    names = sorted(os.listdir(piece.events))
    assert names == [f"events.out.tfevents.{number:05d}" for number in range(1, 7)]


def test_each_event_is_in_the_file_at_once(piece):
    file = EventFile(piece, 0)
    (name,) = os.listdir(piece.events)
    for k in range(3):
        file.write("train", k, {"loss": np.nan})
        assert [event.step for event in events(os.path.join(piece.events, name))][2:] == [
            *range(k + 1)
        ]
    file.close()


def test_a_full_disk_is_waited_for_and_leaves_no_half_event(piece):
    refusals = 0

    def attempt(write):
        nonlocal refusals
        while True:
            try:
                return write()
            except OSError as error:
                assert error.errno == errno.ENOSPC
                refusals += 1

    class Filling:
        """Takes 40 bytes at a time, and every other time none."""

        def __init__(self, file):
            self.file, self.asked = file, 0

        def write(self, data):
            self.asked += 1
            if self.asked % 2:
                raise OSError(errno.ENOSPC, "no space")
            return self.file.write(data[:40])

        def close(self):
            self.file.close()

    file = EventFile(piece, 0, attempt)
    file._file = Filling(file._file)
    for k in range(4):
        file.write("test1", k, {f"class{number}": float(number) for number in range(100)})
    file.close()
    assert refusals > 100
    found = points(piece.events)
    assert len(found) == 100 and found["test1/class99"] == dict.fromkeys(range(4), 99.0)


def test_a_file_that_cannot_be_made_is_an_error_of_the_disk(piece, monkeypatch):
    os.makedirs(piece.run.path)
    with open(os.path.join(piece.run.path, "tensorboard"), "w"):
        pass
    with pytest.raises(OSError) as raised:
        EventFile(piece, 0)
    assert raised.value.errno in (errno.EEXIST, errno.ENOTDIR)


@pytest.mark.parametrize("error", [ImportError("No module named 'tensorboardX'"), TypeError("x")])
@pytest.mark.parametrize("is_old", [False, True])
def test_the_library_is_asked_for_in_one_line(monkeypatch, error, is_old):
    def absent(name):
        raise error

    monkeypatch.setattr(tensorboard.importlib, "import_module", absent)
    spec = importlib.machinery.ModuleSpec("builder", None)
    monkeypatch.setattr(
        tensorboard.importlib.util, "find_spec", lambda name: None if is_old else spec
    )
    with pytest.raises(ConfigError) as raised:
        check_installed()
    wanted = "--no-deps tensorboardX==2.4.1" if is_old else "'dualnet[tensorboard]'"
    assert f"pip install {wanted}, or set tracking=none" in str(raised.value)
    assert "\n" not in str(raised.value)
