"""What a run leaves for people: the record of its starts, and its series, each point once."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from dualnet.errors import ConfigError
from dualnet.report import tensorboard
from dualnet.report.csv_file import to_csv
from dualnet.report.lives import read_lives
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from tests.report.event_reader import points
from tests.report.test_csv_file import check_equal, rows_of
from tests.training.pieces import load
from tests.training.starting import train_one, train_single
from tests.training.test_restart import SHORT, Crash, one_by_one, run_chain

__all__ = ["check_events", "one_by_one"]  # a fixture

TRACKED = (*SHORT, "tracking=tensorboard", "single.threads=1")


def check_events(piece):
    """Check that a piece's event files have the values of its log, which has six digits."""
    log, found = parse_log(piece.log), points(piece.events)
    wanted = {}
    for phase, rows in (("train", log.train), ("test", log.tests.get(0, []))):
        for row in rows:
            values = dict(row.outputs)
            if phase == "train":
                values.update(smoothed_loss=row.loss, learning_rate=row.learning_rate)
            for name, value in values.items():
                wanted.setdefault(f"{phase}/{name}", {})[row.iteration] = value
    assert {tag: sorted(values) for tag, values in found.items()} == {
        tag: sorted(values) for tag, values in wanted.items()
    }
    for tag, values in wanted.items():
        steps = sorted(values)
        np.testing.assert_allclose(
            [found[tag][step] for step in steps], [values[step] for step in steps], rtol=1e-5
        )


def test_the_single_net_s_record_and_series(workdir):
    """Its first start is not tracked: the second one begins at the checkpoint."""
    is_tracked = importlib.util.find_spec("tensorboardX") is not None
    second = load(*TRACKED) if is_tracked else load(*TRACKED, "tracking=none")

    def arm(session):
        def look(done):
            if done == 5:
                raise Crash

        session.on_progress = look

    run = RunDir("run")
    piece = run.piece("single")
    with pytest.raises(Crash):
        train_single(load(*TRACKED, "tracking=none"), run, progress=arm)
    assert [life.state for life in read_lives(piece)] == ["failed"]
    assert not os.path.exists("run/tensorboard")
    train_single(second, run)
    one, two = read_lives(piece)
    assert (one.first_iteration, one.last_iteration, one.exit_code) == (0, 5, 1)
    assert (two.first_iteration, two.last_iteration, two.state) == (4, 11, "done")
    assert two.wall_s > 0 and two.facts["data"][1]["path"] == str(
        workdir / "data/digits/train_lmdb"
    )
    if is_tracked:
        assert sorted(points(piece.events)["train/loss"]) == list(range(4, 11))
    check_equal(rows_of(to_csv(["run"])), {("run", "single"): piece.log})
    assert train_single(second, run) is None
    assert read_lives(piece) == [one, two]  # nothing was left to do


def test_a_chain_s_series_have_each_point_once_however_often_its_pieces_start(workdir):
    pytest.importorskip("tensorboardX")
    run_chain("whole", *TRACKED)
    run_chain("parts", *TRACKED, net1=(1, 6, 9), net2=(1, 7))
    for name, starts in (("net1", 4), ("net2", 3)):
        whole, parts = (RunDir(run).piece(name) for run in ("whole", "parts"))
        assert points(parts.events) == points(whole.events)
        check_events(parts)
        lives = read_lives(parts)
        assert [life.number for life in lives] == list(range(1, starts + 1))
        assert [life.state for life in lives] == ["failed"] * (starts - 1) + ["done"]
        assert [life.state for life in read_lives(whole)] == ["done"]


def test_without_the_library_nothing_is_begun(workdir, monkeypatch):
    def absent():
        raise ConfigError("pip install")

    monkeypatch.setattr(tensorboard, "check_installed", absent)
    with pytest.raises(ConfigError, match="pip install"):
        train_single(load(*TRACKED), RunDir("run"))
    with pytest.raises(ConfigError, match="pip install"):
        train_one(load(*TRACKED), RunDir("run").piece("net1"))
    assert not os.path.exists("run")
