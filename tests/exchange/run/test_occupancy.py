"""Whether a run's directory is in use, checked from outside."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dualnet.errors import StorageFailed, Superseded
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import Lease
from dualnet.exchange.run.manifest import Manifest, join_run
from dualnet.exchange.run.occupancy import check_vacant, sole
from dualnet.exchange.settings import ExchangeSettings
from tests.exchange.fakes import ELSEWHERE, VirtualFs

US = ProcessId.current()
DEAD = replace(US, pid=2**22 + 1, start="1")
SETTINGS = ExchangeSettings()


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run's exchange directory, with a run."""
    paths = RunPaths.of_run(str(tmp_path))
    join_run(VirtualFs(), paths, "net1", {})
    return paths


@pytest.fixture
def manifest(paths: RunPaths) -> Manifest:
    """The run."""
    return join_run(VirtualFs(), paths, "net1", {})


def hold(paths: RunPaths, manifest: Manifest, piece: str, process: ProcessId) -> Heartbeat:
    """Let a process take a piece; returns its heart."""
    fs = VirtualFs()
    Lease.take(fs, paths, manifest, piece, process, 60.0)
    pulse = Pulse(manifest.run_id.hex(), piece, 1, state="running")
    heart = Heartbeat(fs, paths.heartbeat(piece, 1), manifest.key, pulse, 5.0, sync=False)
    heart.beat()
    return heart


def look(tmp_path: Path, fs: VirtualFs | None = None) -> VirtualFs:
    """Look, and check that nothing was touched."""
    fs = fs or VirtualFs()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    started_s = fs.now_s
    try:
        check_vacant(str(tmp_path), SETTINGS, fs=fs, process=US)
    finally:
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert set(before) == set(after) and fs.now_s - started_s <= 20
    return fs


def test_where_nobody_has_been(tmp_path: Path) -> None:
    assert look(tmp_path).slept_s == []
    (tmp_path / "exchange").mkdir(mode=0o700)
    assert look(tmp_path).slept_s == []


@pytest.mark.parametrize("piece", ["net1", "net2"])
def test_a_piece_on_this_machine_is_seen_at_once(
    tmp_path: Path, paths: RunPaths, manifest: Manifest, piece: str
) -> None:
    hold(paths, manifest, piece, US)
    fs = VirtualFs()
    with pytest.raises(Superseded, match=f"{piece} of this run is running already: process"):
        look(tmp_path, fs)
    assert fs.slept_s == []


@pytest.mark.parametrize("process", [US, ELSEWHERE])
def test_one_that_has_left_is_gone(
    tmp_path: Path, paths: RunPaths, manifest: Manifest, process: ProcessId
) -> None:
    hold(paths, manifest, "net2", process).close("stopped")
    assert look(tmp_path).slept_s == []


def test_one_that_died_here_is_gone(tmp_path: Path, paths: RunPaths, manifest: Manifest) -> None:
    hold(paths, manifest, "net1", DEAD)
    assert look(tmp_path).slept_s == []


def test_a_beating_piece_elsewhere_is_seen_with_its_next_beat(
    tmp_path: Path, paths: RunPaths, manifest: Manifest
) -> None:
    hold(paths, manifest, "net1", ELSEWHERE)  # silent
    heart = hold(paths, manifest, "net2", ELSEWHERE)
    fs = VirtualFs()
    fs.on_sleep = lambda: heart.beat() if sum(fs.slept_s) > 5 else None
    with pytest.raises(Superseded, match="net2 of this run is running already: process 4711 on"):
        look(tmp_path, fs)


def test_silent_ones_elsewhere_are_left_to_who_wants_to_follow_them(
    tmp_path: Path, paths: RunPaths, manifest: Manifest
) -> None:
    for piece in ("net1", "net2"):
        hold(paths, manifest, piece, ELSEWHERE)
    assert 15 <= sum(look(tmp_path).slept_s) < 17


def test_a_directory_that_cannot_be_read(tmp_path: Path, paths: RunPaths) -> None:
    class ConnectionLost(VirtualFs):
        def listdir(self, path: str) -> list[str]:
            raise OSError(5, os.strerror(5), path)

    with pytest.raises(StorageFailed, match=r"cannot read .*exchange: EIO \(Input/output error\)"):
        look(tmp_path, ConnectionLost())


def test_one_at_a_time(tmp_path: Path) -> None:
    settings = ExchangeSettings(lock_dir=str(tmp_path / "locks"))
    run_dir = tmp_path / "run"
    (tmp_path / "link").symlink_to(run_dir)
    with sole(str(run_dir), "training", settings):
        with sole(str(run_dir), "single", settings), sole(str(tmp_path), "training", settings):
            pass
        again = sole(str(tmp_path / "link"), "training", settings)
        with pytest.raises(Superseded, match="another training of this run is running"), again:
            pass
    with sole(str(run_dir), "training", settings):
        pass
