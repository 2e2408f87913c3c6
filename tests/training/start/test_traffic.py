"""Messages that are kept for a restart go when nobody can need them any more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dualnet.config import Config
from dualnet.exchange.paths import DataName
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.commit import Commit
from dualnet.training.start import run as run_module
from dualnet.training.start import traffic


@pytest.fixture
def exchange(tmp_path):
    """The folder of the link, with a message of each piece, and files that are none."""
    folder = tmp_path / "exchange/net1-net2"
    folder.mkdir(parents=True)
    for name, stage in (("net1", "up"), ("net2", "down")):
        (folder / str(DataName(name, 7, stage, "pool2", 8, 1))).write_bytes(b"message")
    for name in ("manifest.json", "mine.npy"):
        (folder / name).write_bytes(b"no message")
    return folder


def names(exchange):
    return sorted(path.name for path in exchange.iterdir())


def end(run_dir, *names):
    """Mark pieces as complete, each with a checkpoint of two files."""
    for name in names:
        paths = [run_dir / f"{name}_iter_8.{kind}" for kind in ("caffemodel", "solverstate")]
        for path in paths:
            path.write_bytes(b"weights")
        commit.write(RunDir(str(run_dir)).piece(name), Commit(name, 8), *map(str, paths))
        commit.mark_complete(RunDir(str(run_dir)).piece(name), 8)


def test_they_stay_while_a_piece_may_still_need_them(tmp_path, exchange):
    end(tmp_path, "net1")
    traffic.remove_when_over(RunDir(str(tmp_path)), ("net1", "net2"))
    assert len(names(exchange)) == 4


def test_they_go_when_both_are_complete_and_nothing_else_does(tmp_path, exchange):
    end(tmp_path, "net1", "net2")
    traffic.remove_when_over(RunDir(str(tmp_path)), ("net1", "net2"))
    assert names(exchange) == ["manifest.json", "mine.npy"]


@pytest.mark.parametrize("name", ["net1", "net2"])
def test_the_same_command_removes_those_of_pieces_that_died_when_they_were_complete(
    tmp_path, exchange, monkeypatch, name
):
    end(tmp_path, "net1", "net2")
    piece = RunDir(str(tmp_path)).piece(name)
    resolved = SimpleNamespace(
        name=name, solver=SimpleNamespace(snapshot=4), max_iter=0, dir=piece, ends=["a cut"]
    )
    monkeypatch.setattr(run_module, "resolve", lambda *words: resolved)
    monkeypatch.setattr(run_module, "claim", lambda *words, fs: None)
    assert run_module.train_piece(Config(), piece) is None
    assert names(exchange) == ["manifest.json", "mine.npy"]


def test_a_run_without_an_exchange_is_no_error(tmp_path):
    end(tmp_path, "net1", "net2")
    traffic.remove_when_over(RunDir(str(tmp_path)), ("net1", "net2"))
