"""Joining a run: the first makes it, the others agree or leave without a trace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dualnet.errors import ManifestMismatch, StorageFailed
from dualnet.exchange.disk.publish import remove_temporaries
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.manifest import Manifest, join_run
from tests.exchange.fakes import FaultyFs, VirtualFs


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """An exchange directory yet to be made."""
    return RunPaths.of_run(str(tmp_path))


def test_both_pieces_find_the_same_run(paths: RunPaths) -> None:
    first = join_run(VirtualFs(), paths, "net1", {"config": "a", "rate": 0.1})
    second = join_run(VirtualFs(), paths, "net2", {"rate": 0.1, "config": "a"})
    assert first == second
    assert len(first.run_id) == 16 and len(first.key) == 32
    assert sorted(os.listdir(paths.root)) == ["manifest.json", "secret"]
    assert os.stat(paths.root).st_mode & 0o777 == 0o700
    assert os.stat(paths.secret).st_mode & 0o777 == 0o600
    assert first.key.hex() not in Path(paths.manifest).read_text()


def test_two_runs_differ(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(join_run(VirtualFs(), RunPaths.of_run(str(tmp_path / name)), "net1", {}))
    assert runs[0].run_id != runs[1].run_id and runs[0].key != runs[1].key


def test_mismatch_names_both_values_and_writes_nothing(paths: RunPaths) -> None:
    join_run(VirtualFs(), paths, "net1", {"config": "a", "batch": 64})
    before = {name: os.stat(os.path.join(paths.root, name)) for name in os.listdir(paths.root)}
    with pytest.raises(ManifestMismatch, match="batch is 64 there and 128 here") as caught:
        join_run(VirtualFs(), paths, "net2", {"config": "a", "batch": 128})
    assert "config" not in str(caught.value).split(":", 1)[1].split(";")[0]
    after = {name: os.stat(os.path.join(paths.root, name)) for name in os.listdir(paths.root)}
    assert after == before


@pytest.mark.parametrize("damage", ["text", "mac", "run_id", "empty"])
def test_damaged_manifest(paths: RunPaths, damage: str) -> None:
    join_run(VirtualFs(), paths, "net1", {})
    path = Path(paths.manifest)
    fields = json.loads(path.read_text())
    if damage == "text":
        path.write_text("{")
    elif damage == "empty":
        path.write_text("")
    else:
        fields[damage] = "0" * len(fields[damage])
        path.write_text(json.dumps(fields))
    with pytest.raises(ManifestMismatch, match="damaged"):
        join_run(VirtualFs(), paths, "net2", {})


def test_other_protocol_version(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    join_run(VirtualFs(), paths, "net1", {})
    monkeypatch.setattr("dualnet.exchange.run.manifest.PROTOCOL_VERSION", 4)
    with pytest.raises(ManifestMismatch, match="protocol 3, this program speaks 4"):
        join_run(VirtualFs(), paths, "net2", {})


def test_open_doors_are_refused(paths: RunPaths) -> None:
    join_run(VirtualFs(), paths, "net1", {})
    os.chmod(paths.secret, 0o640)
    with pytest.raises(StorageFailed, match="chmod 600"):
        join_run(VirtualFs(), paths, "net2", {})
    os.chmod(paths.secret, 0o600)
    os.chmod(paths.root, 0o770)
    with pytest.raises(StorageFailed, match="chmod 700"):
        join_run(VirtualFs(), paths, "net2", {})


def test_other_users_directory(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    join_run(VirtualFs(), paths, "net1", {})
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StorageFailed, match="this is user 12345"):
        join_run(VirtualFs(), paths, "net2", {})


def test_missing_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="ENOENT"):
        join_run(VirtualFs(), RunPaths.of_run(str(tmp_path / "missing")), "net1", {})


def test_a_crash_at_any_operation_leaves_a_usable_directory(tmp_path: Path) -> None:
    fail_at = 0
    while True:
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        paths = RunPaths.of_run(str(folder))
        fs = FaultyFs()
        fs.arm(fail_at, 28)
        try:
            first = join_run(fs, paths, "net1", {"config": "a"})
        except StorageFailed:
            first = None
        fs.disarm()
        again = join_run(fs, paths, "net1", {"config": "a"})
        assert first in (None, again)
        assert join_run(VirtualFs(), paths, "net2", {"config": "a"}) == again
        if not fs.failed:
            break
        fail_at += 1
    assert fail_at > 15


def test_a_faster_copy_cleans_up_behind_a_slow_one(tmp_path: Path) -> None:
    """It removes what looks like the leftover of a dead start; the slow one finds its run."""
    paths = RunPaths.of_run(str(tmp_path))
    made: list[Manifest] = []

    class Overtaken(VirtualFs):
        def link(self, source: str, target: str) -> None:
            if not made:
                made.append(join_run(VirtualFs(), paths, "net1", {"config": "a"}))
                remove_temporaries(self, paths, "net1", 1)
            super().link(source, target)

    assert join_run(Overtaken(), paths, "net1", {"config": "a"}) == made[0]
    assert not list(Path(paths.root).glob(".tmp*"))
