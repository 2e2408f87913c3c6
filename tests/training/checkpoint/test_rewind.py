"""Finished runs stay what they were: damage is found, and the same command mends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import ConfigError, UsageError
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName, RunPaths
from dualnet.exchange.peek import LinkView, PieceView, RunView
from dualnet.report.status import status
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files, commit, rewind
from dualnet.training.net.resolve import resolve
from dualnet.training.outcome.digest import digest
from dualnet.training.outcome.evaluate import evaluate
from dualnet.training.outcome.merge import merge
from tests.training.checkpoint.test_commit import make
from tests.training.pieces import load
from tests.training.starting import CHAIN, train_one, train_single
from tests.training.test_restart import equal, one_by_one, run_chain

__all__ = ["one_by_one"]  # a fixture that every test here needs

#: Checkpoints at 4 and 6 are kept.
SHORT = ("train.max_iter=6", "train.display=1", "train.test_interval=3", "train.test_iter=2",
         "train.snapshot=2")  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory, repository, digits_directory):
    """A finished run, to be copied."""
    folder, before = tmp_path_factory.mktemp("finished"), os.getcwd()
    (folder / "data").mkdir()
    (folder / "data" / "digits").symlink_to(digits_directory)
    for name in ("configs", "prototxt"):
        (folder / name).symlink_to(repository / name)
    os.chdir(folder)
    try:
        run_chain("run", *SHORT)
    finally:
        os.chdir(before)
    return folder / "run"


@pytest.fixture
def runs(workdir, finished):
    """Two copies of it in the working directory: "whole" and "run"."""
    for name in ("whole", "run"):
        shutil.copytree(finished, workdir / name)
    return Path("run")


def flip(path):
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def replace_by_directory(path):
    path.unlink()
    path.mkdir()
    (path / "precious").write_text("kept")


def swap(path):
    """The other piece's, and the other way round."""
    other = path.with_name(path.name.replace("net1", "net9").replace("net2", "net1"))
    other = other.with_name(other.name.replace("net9", "net2"))
    aside = path.with_name("aside")
    path.rename(aside), other.rename(path), aside.rename(other)


def age(path):
    """An older one of this piece."""
    shutil.copy(str(path).replace("_6.", "_4."), path)


FILES = {
    "flipped caffemodel": (flip, "net1_iter_6.caffemodel"),
    "flipped caffemodel of net2": (flip, "net2_iter_6.caffemodel"),
    "flipped solverstate": (flip, "net2_iter_6.solverstate"),
    "truncated solverstate": (truncate, "net1_iter_6.solverstate"),
    "empty caffemodel": (empty, "net2_iter_6.caffemodel"),
    "lost caffemodel": (remove, "net1_iter_6.caffemodel"),
    "lost solverstate": (remove, "net2_iter_6.solverstate"),
    "directory in its place": (replace_by_directory, "net1_iter_6.caffemodel"),
    "swapped caffemodels": (swap, "net1_iter_6.caffemodel"),
    "older caffemodel": (age, "net2_iter_6.caffemodel"),
    "lost record": (remove, "net2_iter_6.checkpoint.json"),
    "flipped record": (flip, "net1_iter_6.checkpoint.json"),
    "empty record": (empty, "net1_iter_6.checkpoint.json"),
    "directory for a record": (replace_by_directory, "net2_iter_6.checkpoint.json"),
    "older record": (age, "net1_iter_6.checkpoint.json"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_command_trains_on_from_what_is_whole(runs, name):
    spoil, file = FILES[name]
    spoil(runs / file)
    for look in (
        lambda: caffe_files.find(RunDir("run")),
        lambda: digest(RunDir("run")),
        lambda: evaluate(RunDir("run"), load(*SHORT)),
        lambda: merge(RunDir("run"), load(*SHORT), "m.caffemodel"),
    ):
        with pytest.raises(
            UsageError, match=r"iter_6.*trains on from what is whole.* --iteration 4"
        ):
            look()
    assert caffe_files.find(RunDir("run"), 4)[0] == 4
    run_chain("run", *SHORT)
    equal("whole", "run")
    for piece in CHAIN:
        assert commit.latest(RunDir("run").piece(piece)).complete
        assert train_one(load(*SHORT), RunDir("run").piece(piece)) is None
    assert not list(Path("run/exchange").rglob("*.npy"))
    if spoil is replace_by_directory:
        (aside,) = Path("run").glob("*.aside")
        assert (aside / "precious").read_text() == "kept"


def test_both_pieces_damaged(runs):
    flip(runs / "net1_iter_6.caffemodel")
    remove(runs / "net2_iter_6.solverstate")
    run_chain("run", *SHORT)
    equal("whole", "run")
    log = (runs / "net1.log").read_text()
    assert "net1_iter_6.checkpoint.json is ignored: net1_iter_6.caffemodel has SHA-256" in log


def test_a_lost_exchange_directory_matters_to_none_who_is_whole(runs):
    shutil.rmtree(runs / "exchange")
    assert train_one(load(*SHORT), RunDir("run").piece("net1")) is None


def test_the_piece_that_starts_first_takes_the_other_back(runs):
    flip(runs / "net1_iter_6.caffemodel")
    warnings = []
    assert not rewind.is_over(RunDir("run").piece("net1"), CHAIN) and not rewind.is_over(
        RunDir("run").piece("net2"), CHAIN
    )
    assert rewind.go_back(RunDir("run").piece("net2"), CHAIN, warn=warnings.append).iteration == 4
    (warning,) = warnings
    assert warning.startswith(
        "all pieces go back to iteration 4: net1's latest whole checkpoint is 4 "
        "(net1_iter_6.checkpoint.json: net1_iter_6.caffemodel has SHA-256"
    )
    assert "net2's latest whole checkpoint is 6" in warning
    # The other one has nothing to add.
    assert rewind.go_back(RunDir("run").piece("net1"), CHAIN, warn=warnings.append).iteration == 4
    assert len(warnings) == 1


def test_a_piece_that_is_at_work_is_not_taken_back(runs, monkeypatch):
    flip(runs / "net1_iter_6.caffemodel")
    link = LinkView(sent=8)
    piece = PieceView("net2", epoch=2, state="running", alive=True, links={"net1-net2": link})
    view = RunView("", pieces={"net2": piece})
    monkeypatch.setattr(rewind, "peek", lambda run_dir: view)
    assert rewind.go_back(RunDir("run").piece("net1"), CHAIN).iteration == 4
    assert commit.latest(RunDir("run").piece("net2")).iteration == 6
    # One that has only just started, too, finds that it has to go back.
    link.sent = 0
    assert rewind.go_back(RunDir("run").piece("net1"), CHAIN).iteration == 4
    assert commit.latest(RunDir("run").piece("net2")).iteration == 4


def test_a_piece_that_the_others_have_overtaken_goes_back_with_them(tmp_path, monkeypatch):
    """It had looked at the checkpoints before the others went back, and at them when they train."""
    chain = ("net1", "net2", "net3")
    for name in chain:
        links = {"net1-net2": [9, 9], "net2-net3": [9, 9]}
        make(tmp_path, 4, name, links={link: [6, 6] for link in links})
        make(tmp_path, 6, name, links=links, complete=True)
    flip(tmp_path / "net2_iter_6.caffemodel")
    run = RunDir(str(tmp_path))
    monkeypatch.setattr(rewind, "_are_here", lambda pieces, fs: True)

    def is_at_work(other):
        monkeypatch.setattr(rewind, "_is_at_work", lambda other: False)
        assert rewind.go_back(run.piece("net2"), chain).iteration == 4
        return True

    monkeypatch.setattr(rewind, "_is_at_work", is_at_work)
    assert rewind.go_back(run.piece("net3"), chain).iteration == 4


def test_where_no_iteration_is_whole_in_both_a_line_says_so(runs):
    flip(runs / "net1_iter_6.caffemodel")
    flip(runs / "net2_iter_4.caffemodel")
    with pytest.raises(
        UsageError, match=r"no iteration is left.*net1_iter_6\.caffemodel has SHA-256"
    ):
        train_one(load(*SHORT), RunDir("run").piece("net1"))
    # What is whole stays.
    assert commit.latest(RunDir("run").piece("net2")).complete
    assert commit.latest(RunDir("run").piece("net1")).iteration == 4
    assert train_one(load(*SHORT), RunDir("run").piece("net2")) is None
    with pytest.raises(UsageError, match=r"net1_iter_6\.caffemodel has SHA-256.*from a copy"):
        evaluate(RunDir("run"), load(*SHORT))


def test_all_files_of_a_piece_gone(runs):
    for path in runs.glob("net2_iter_6.*"):
        path.unlink()
    with pytest.raises(
        UsageError, match=r"net2_iter_6\.checkpoint\.json: the checkpoint has no rec"
    ):
        digest(RunDir("run"))
    run_chain("run", *SHORT)
    equal("whole", "run")


def message(run_dir, piece, seq):
    """A file of a message that is still there."""
    paths = RunPaths.of_run(str(run_dir)).link(Link("net1", "net2"))
    os.makedirs(paths.root, exist_ok=True)
    name = DataName(
        piece=piece, iteration=1, kind="up", array="pool2", seq=seq, epoch=1, attempt=0
    )  # fmt: skip
    Path(paths.data(name)).touch()


def test_while_its_messages_are_there_a_piece_goes_back_alone(tmp_path):
    for piece, iteration, sent, received in (
        ("net1", 4, 8, 4), ("net1", 6, 12, 6), ("net2", 4, 4, 8), ("net2", 6, 6, 12)
    ):  # fmt: skip
        links = {"net1-net2": [sent, received]}
        make(tmp_path, iteration, piece, links=links, complete=iteration == 6)
    flip(tmp_path / "net1_iter_6.caffemodel")
    message(tmp_path, "net2", 6)
    # Message 5 of net2 is gone.
    assert not rewind.is_over(RunDir(str(tmp_path)).piece("net2"), CHAIN)
    message(tmp_path, "net2", 5)
    assert rewind.is_over(RunDir(str(tmp_path)).piece("net2"), CHAIN)
    assert rewind.go_back(RunDir(str(tmp_path)).piece("net1"), CHAIN).iteration == 4
    assert commit.latest(RunDir(str(tmp_path)).piece("net2")).iteration == 6


@pytest.mark.parametrize("carrier", ["tcp"])
def test_over_other_carriers_too(workdir, carrier):
    settings = (*SHORT, f"exchange.carrier={carrier}")
    run_chain("run", *settings)
    expected = digest(RunDir("run"))
    flip(Path("run/net2_iter_6.caffemodel"))
    run_chain("run", *settings)
    assert digest(RunDir("run")) == expected


def test_status_says_damaged_instead_of_complete(runs):
    assert [piece.state for piece in status(RunDir("run")).pieces.values()] == ["complete"] * 2
    flip(runs / "net2_iter_6.solverstate")
    found = status(RunDir("run"))
    assert [found.pieces[piece].state for piece in CHAIN] == ["complete", "damaged"]
    assert any("net2_iter_6.solverstate has SHA-256" in line for line in found.problems)


def test_a_run_without_checkpoints_in_between_says_what_is_wrong(workdir):
    config = load("train.max_iter=2")
    run_chain("run", "train.max_iter=2")
    flip(Path("run/net1_iter_2.caffemodel"))
    with pytest.raises(UsageError, match=r"net1_iter_2\.caffemodel has SHA-256"):
        train_one(config, RunDir("run").piece("net1"))
    assert train_one(config, RunDir("run").piece("net2")) is None


@pytest.mark.parametrize("spoil", [flip, remove, replace_by_directory])
def test_single_runs_too(workdir, spoil):
    train_single(load(*SHORT), RunDir("run"))
    expected = digest(RunDir("run"))
    spoil(Path("run/single_iter_6.caffemodel"))
    with pytest.raises(UsageError, match=r"single_iter_6\.caffemodel.*--iteration 4"):
        digest(RunDir("run"))
    assert status(RunDir("run")).pieces["single"].state == "damaged"
    assert train_single(load(*SHORT), RunDir("run")).is_continued
    assert digest(RunDir("run")) == expected
    assert status(RunDir("run")).pieces["single"].state == "complete"


def test_snapshots_without_any_record_are_taken_and_said(workdir, caplog):
    train_single(load(*SHORT), RunDir("run"))
    expected = digest(RunDir("run"))
    for path in Path("run").glob("*.checkpoint.json"):
        path.unlink()
    assert digest(RunDir("run")) == expected
    assert "no records of checkpoints" in caplog.text


def test_no_training_starts_from_a_damaged_snapshot(runs):
    weights = "train.weights=[run/net1_iter_6.caffemodel]"
    resolve(load(weights), RunDir("other").piece("net1"))
    flip(runs / "net1_iter_6.caffemodel")
    with pytest.raises(
        ConfigError, match=r"train\.weights: run/net1_iter_6\.caffemodel: .*SHA-256"
    ):
        resolve(load(weights), RunDir("other").piece("net1"))


def test_a_file_that_no_record_knows_is_no_part_of_a_checkpoint(runs, monkeypatch):
    restored = []
    monkeypatch.setattr(
        "dualnet.training.checkpoint.extras.restore", lambda *words: restored.append(words)
    )
    for path in runs.glob("net?_iter_6.*"):
        path.unlink()
    np.savez(runs / "net1_iter_4.momentum.npz", stale=np.zeros(1))
    run_chain("run", *SHORT)
    equal("whole", "run")
    assert restored == []


def test_a_damaged_run_keeps_its_config(runs):
    flip(runs / "net1_iter_6.caffemodel")
    before = (runs / "config.yaml").read_bytes()
    run_chain("run", *SHORT)
    assert (runs / "config.yaml").read_bytes() == before
