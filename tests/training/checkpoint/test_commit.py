"""The commit record: a checkpoint is what it says it is, or it is none."""

from __future__ import annotations

import json
import math
import os

import pytest

from dualnet.recorded import seal
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.commit import Commit


def make(run_dir, iteration, name="net1", **facts):
    """A checkpoint of two small files."""
    paths = []
    for kind in ("caffemodel", "solverstate"):
        path = run_dir / f"{name}_iter_{iteration}.{kind}"
        path.write_bytes(f"{kind} {iteration}".encode() * 50)
        paths.append(str(path))
    commit.write(RunDir(str(run_dir)).piece(name), Commit(name, iteration, **facts), *paths)


def latest(run_dir, name="net1"):
    """The latest checkpoint's iteration (None: none), and the warnings."""
    warnings = []
    found = commit.latest(RunDir(str(run_dir)).piece(name), warnings.append)
    return (found.iteration if found else None), warnings


def test_what_is_written_is_read(tmp_path):
    losses = [0.1, 1 / 3, math.inf, 2.0**-1074]
    make(tmp_path, 30, epoch=2, links={"net1-net2": [61, 60]}, losses=losses)
    found = commit.latest(RunDir(str(tmp_path)).piece("net1"))
    assert (found.piece, found.iteration, found.epoch) == ("net1", 30, 2)
    assert (*found.counts("net1-net2"), found.losses) == (61, 60, losses)
    assert not found.complete and len(found.files) == 2


def test_records_are_strict_json_also_where_losses_are_not_finite(tmp_path):
    make(tmp_path, 30, losses=[0.5, math.inf, math.nan, -math.inf], residual=math.nan)
    text = (tmp_path / "net1_iter_30.checkpoint.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
    found = commit.latest(RunDir(str(tmp_path)).piece("net1"))
    assert repr(found.losses) == "[0.5, inf, nan, -inf]" and repr(found.residual) == "nan"


def test_latest_by_number_and_of_this_piece_only(tmp_path):
    for iteration in (5, 100, 20):
        make(tmp_path, iteration)
    make(tmp_path, 300, name="net2")
    (tmp_path / "net1_iter_400.caffemodel").write_bytes(b"killed before the record")
    assert latest(tmp_path) == (100, [])


def test_nothing_there(tmp_path):
    assert latest(tmp_path) == (None, [])
    assert latest(tmp_path / "nowhere") == (None, [])


@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "flipped", "longer"])
def test_damaged_file(tmp_path, kind, damage):
    make(tmp_path, 5)
    make(tmp_path, 9)
    path = tmp_path / f"net1_iter_9.{kind}"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        flipped = bytes([content[0] ^ 128]) + content[1:]
        path.write_bytes({"empty": b"", "short": content[:-1], "flipped": flipped,
                          "longer": content + b"\0"}[damage])  # fmt: skip
    found, (warning,) = latest(tmp_path)
    assert found == 5
    assert "net1_iter_9.checkpoint.json is ignored" in warning and path.name in warning


@pytest.mark.parametrize("bit", [1, 7])
def test_flipped_bits_of_a_record_are_noticed(tmp_path, bit):
    make(tmp_path, 9, links={"net1-net2": [4, 0]}, losses=[0.5])
    path = tmp_path / "net1_iter_9.checkpoint.json"
    content = path.read_bytes()
    expected = commit.latest(RunDir(str(tmp_path)).piece("net1"))
    for place in range(len(content)):
        flipped = bytes([content[place] ^ (1 << bit)])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        # White space may be any.
        assert commit.latest(RunDir(str(tmp_path)).piece("net1")) in (None, expected)
        if content[place : place + 1].isalnum():
            assert commit.latest(RunDir(str(tmp_path)).piece("net1")) is None


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "3", '{"version": 2}', '{"version": 1}', "[" * 100000,
    '{"version": 1, "role": "net1", "iteration": 9, "sha256": "00"}',
    '{"version": 1, "sha256": []}',
])  # fmt: skip
def test_damaged_record(tmp_path, text):
    make(tmp_path, 5)
    (tmp_path / "net1_iter_9.checkpoint.json").write_text(text)
    found, (warning,) = latest(tmp_path)
    assert found == 5 and "is ignored" in warning
    assert not commit.complete(RunDir(str(tmp_path)).piece("net1"))


def test_record_under_another_name(tmp_path):
    make(tmp_path, 5)
    os.rename(tmp_path / "net1_iter_5.checkpoint.json", tmp_path / "net1_iter_7.checkpoint.json")
    found, (warning,) = latest(tmp_path)
    assert found is None and "is that of net1, iteration 5" in warning


def test_complete(tmp_path):
    make(tmp_path, 5)
    assert not commit.complete(RunDir(str(tmp_path)).piece("net1"))
    commit.mark_complete(RunDir(str(tmp_path)).piece("net1"), 5)
    assert commit.complete(RunDir(str(tmp_path)).piece("net1"))
    assert not commit.complete(RunDir(str(tmp_path)).piece("net2"))
    assert commit.latest(RunDir(str(tmp_path)).piece("net1")).complete


def test_a_record_that_cannot_be_read_is_not_passed_over(tmp_path):
    make(tmp_path, 5)
    record = tmp_path / "net1_iter_5.checkpoint.json"
    content = record.read_bytes()
    record.write_bytes(content.replace(b"net1", b"net2"))
    with pytest.raises(OSError, match="damaged"):
        commit.mark_complete(RunDir(str(tmp_path)).piece("net1"), 5)
    record.write_bytes(content)
    commit.mark_complete(RunDir(str(tmp_path)).piece("net1"), 5)
    assert commit.complete(RunDir(str(tmp_path)).piece("net1"))


@pytest.mark.parametrize(("keep", "left"), [(2, [20, 30]), (3, [10, 20, 30]), (0, [5, 10, 20, 30])])
def test_old_ones_go(tmp_path, keep, left):
    for iteration in (5, 10, 20, 30):
        make(tmp_path, iteration)
    make(tmp_path, 5, name="net2")
    commit.prune(RunDir(str(tmp_path)).piece("net1"), keep, 30)
    names = [f"net1_iter_{i}.{kind}" for i in left
             for kind in ("caffemodel", "checkpoint.json", "solverstate")]  # fmt: skip
    assert sorted(n for n in os.listdir(tmp_path) if n.startswith("net1")) == sorted(names)
    assert len([n for n in os.listdir(tmp_path) if n.startswith("net2")]) == 3


def test_a_restart_before_a_damaged_one_prunes_only_what_lies_before(tmp_path):
    for iteration in (5, 10, 20, 30):
        make(tmp_path, iteration)
    commit.prune(RunDir(str(tmp_path)).piece("net1"), 2, 20)
    assert sorted(commit.recorded(RunDir(str(tmp_path)).piece("net1"))) == [10, 20, 30]


def test_record_goes_first(tmp_path, monkeypatch):
    make(tmp_path, 5)
    make(tmp_path, 6)
    make(tmp_path, 7)
    real, removed = os.unlink, []

    def unlink(path):
        removed.append(os.path.basename(path))
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    commit.prune(RunDir(str(tmp_path)).piece("net1"), 2, 7)
    assert removed[0] == "net1_iter_5.checkpoint.json" and len(removed) == 5


def test_record_names_no_path(tmp_path):
    """So that a run directory can be moved."""
    make(tmp_path, 5)
    text = (tmp_path / "net1_iter_5.checkpoint.json").read_text()
    assert str(tmp_path) not in text
    assert all("/" not in name for name in json.loads(text)["files"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("files", 5), ("files", {"a": 1}), ("files", []), ("sent", "1"), ("epoch", 10**40), ("run", 7),
     ("last", -1), ("complete", "yes"), ("received", None), ("converged", 1), ("iteration", 2.0)],
)  # fmt: skip
def test_sealed_values_of_another_kind_are_damage(tmp_path, key, value):
    commit.write(RunDir(str(tmp_path)).piece("net1"), commit.Commit("net1", 2))
    path = tmp_path / "net1_iter_2.checkpoint.json"
    fields = json.loads(path.read_text())
    del fields["version"], fields["sha256"]
    fields[key] = value
    path.write_text(json.dumps({"version": 1, **fields, "sha256": seal(fields)}))
    assert commit.whole(RunDir(str(tmp_path)).piece("net1"), 2) == "its record is damaged"
    assert commit.latest(RunDir(str(tmp_path)).piece("net1")) is None
