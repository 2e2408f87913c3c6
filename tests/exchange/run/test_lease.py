"""One process per piece: second copies, dead holders, zombies and races."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from dualnet.config import load
from dualnet.errors import StorageFailed, Superseded
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import Lease, NodeLock, read_generation
from dualnet.exchange.run.manifest import Manifest, join_run
from dualnet.fs import Fs
from tests.exchange.fakes import ELSEWHERE, VirtualFs

US = ProcessId.current()


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run's exchange directory."""
    return RunPaths.of_run(str(tmp_path))


@pytest.fixture
def manifest(paths: RunPaths) -> Manifest:
    """The run."""
    return join_run(VirtualFs(), paths, "net1", {})


def take(paths: RunPaths, manifest: Manifest, process: ProcessId, fs: Fs | None = None) -> Lease:
    return Lease.take(fs or VirtualFs(), paths, manifest, "net1", process, 60.0)


def beating(fs: Fs, paths: RunPaths, manifest: Manifest, epoch: int) -> Heartbeat:
    pulse = Pulse(manifest.run_id.hex(), "net1", epoch, state="running")
    path = paths.heartbeat("net1", epoch)
    return Heartbeat(fs, path, manifest.key, pulse, 5.0, sync=False)


def test_node_lock_excludes_and_frees(tmp_path: Path) -> None:
    folder = str(tmp_path / "locks")
    first = NodeLock(Fs(), folder, "run", "net1")
    NodeLock(Fs(), folder, "run", "net2").release()
    NodeLock(Fs(), folder, "other", "net1").release()
    with pytest.raises(Superseded, match="another net1 of this run") as caught:
        NodeLock(Fs(), folder, "run", "net1")
    assert caught.value.exit_code == 75
    first.release()
    NodeLock(Fs(), folder, "run", "net1").release()
    assert os.listdir(folder) == []


class Shared(Fs):
    """A folder in which other users have made names before us."""

    def __init__(self, others: dict[str, int]) -> None:
        self.others = others

    def lstat(self, path: str) -> os.stat_result:
        status = list(super().lstat(path))
        status[4] = self.others.get(path, status[4])
        return os.stat_result(status)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_another_users_folder_is_passed_by(tmp_path: Path, monkeypatch, kind: str) -> None:
    names = [str(tmp_path / f"dualnet-{n}") for n in (1, 2, 3)]
    monkeypatch.setattr("dualnet.exchange.run.lease._DEFAULT_FOLDERS", tuple(names))
    if kind == "folder":
        os.mkdir(names[0])
    elif kind == "file":
        (tmp_path / "dualnet-1").touch()
    else:
        os.symlink(tmp_path, names[0])
    fs = Shared({names[0]: os.geteuid() + 1})
    first = NodeLock(fs, "", "run", "net1")
    with pytest.raises(Superseded, match="dualnet-2/run.net1.lock"):
        NodeLock(fs, "", "run", "net1")
    first.release()
    if kind != "folder":
        return
    for name in names[2:]:
        os.mkdir(name)
    fs = Shared({name: os.geteuid() + 1 for name in names})
    remedy = f"dualnet-1: belongs to user {os.geteuid() + 1}.*set exchange.lock_dir"
    with pytest.raises(StorageFailed, match=remedy):
        NodeLock(fs, "", "run", "net1")
    NodeLock(fs, str(tmp_path / "mine"), "run", "net1").release()


def test_the_remedy_names_a_key_that_there_is(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("exchange: {lock_dir: /scratch/locks}")
    assert load(str(tmp_path / "run.yaml")).exchange.lock_dir == "/scratch/locks"


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "run.net1.lock"

    class Removing(Fs):
        """The holder leaves between our open and our lock."""

        opened = 0

        def flock(self, fd: int) -> None:
            self.opened += 1
            if self.opened == 1:
                path.unlink()
            super().flock(fd)

    fs = Removing()
    lock = NodeLock(fs, str(tmp_path), "run", "net1")
    assert fs.opened == 2
    with pytest.raises(Superseded):
        NodeLock(Fs(), str(tmp_path), "run", "net1")
    lock.release()


def test_first_lease(paths: RunPaths, manifest: Manifest) -> None:
    lease = take(paths, manifest, US)
    assert lease.epoch == 1
    assert read_generation(Fs(), paths, manifest, "net1", 1) == US
    names = set(os.listdir(paths.root))
    assert {"net1.gen.000001", "net1.e000001.heartbeat"} <= names
    assert not [name for name in names if name.startswith(".tmp")]


def test_live_process_on_this_machine_is_refused_at_once(
    paths: RunPaths, manifest: Manifest
) -> None:
    take(paths, manifest, US)
    fs = VirtualFs()
    with pytest.raises(Superseded, match="running already"):
        take(paths, manifest, replace(US, pid=1), fs)
    assert fs.slept_s == []


def test_dead_process_on_this_machine_is_followed_at_once(
    paths: RunPaths, manifest: Manifest
) -> None:
    # Process numbers are reused: the start time tells that it is another process.
    take(paths, manifest, replace(US, start="1"))
    fs = VirtualFs()
    assert take(paths, manifest, US, fs).epoch == 2
    assert fs.slept_s == []


def test_another_container_on_this_machine_proves_nothing(
    paths: RunPaths, manifest: Manifest
) -> None:
    take(paths, manifest, replace(US, pid=2**22 + 1, pid_ns="pid:[1]"))
    fs = VirtualFs()
    assert take(paths, manifest, US, fs).epoch == 2
    assert sum(fs.slept_s) >= 60.0


def test_silent_process_elsewhere_is_followed_after_a_minute(
    paths: RunPaths, manifest: Manifest
) -> None:
    take(paths, manifest, ELSEWHERE)
    fs = VirtualFs()
    assert take(paths, manifest, US, fs).epoch == 2
    assert 60.0 <= sum(fs.slept_s) < 62.0


def test_beating_process_elsewhere_is_refused_after_one_heartbeat(
    paths: RunPaths, manifest: Manifest
) -> None:
    take(paths, manifest, ELSEWHERE)
    fs = VirtualFs()
    heart = beating(fs, paths, manifest, 1)
    heart.beat()

    def beat_every_five_seconds() -> None:
        if fs.now_s - 1000.0 >= 5.0:
            heart.beat()

    fs.on_sleep = beat_every_five_seconds
    with pytest.raises(Superseded, match="process 4711 on elsewhere"):
        take(paths, manifest, US, fs)
    assert sum(fs.slept_s) < 7.0


@pytest.mark.parametrize("state", ["done", "stopped", "failed: MemoryError"])
def test_a_process_that_left_is_followed_at_once(
    paths: RunPaths, manifest: Manifest, state: str
) -> None:
    take(paths, manifest, ELSEWHERE)
    fs = VirtualFs()
    beating(fs, paths, manifest, 1).close(state)
    assert take(paths, manifest, US, fs).epoch == 2
    assert fs.slept_s == []


def test_a_stalled_server_is_no_death(paths: RunPaths, manifest: Manifest) -> None:
    """A poll that takes two minutes counts as two seconds."""
    take(paths, manifest, ELSEWHERE)
    fs = VirtualFs()
    heart = beating(fs, paths, manifest, 1)
    heart.beat()
    stalls = []

    def stall() -> None:
        if not stalls:
            stalls.append(120.0)
            fs.now_s += 120.0
        elif len(fs.slept_s) == 5:
            heart.beat()

    fs.on_sleep = stall
    with pytest.raises(Superseded):
        take(paths, manifest, US, fs)


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 5000])
def test_garbage_generation_fails_closed(
    paths: RunPaths, manifest: Manifest, content: bytes
) -> None:
    take(paths, manifest, ELSEWHERE)
    Path(paths.generation("net1", 1)).write_bytes(content)
    fs = VirtualFs()
    heart = beating(fs, paths, manifest, 1)
    fs.on_sleep = heart.beat
    heart.beat()
    with pytest.raises(Superseded, match="cannot be identified"):
        take(paths, manifest, US, fs)


def test_a_crash_before_the_generation_file_harms_nobody(
    paths: RunPaths, manifest: Manifest
) -> None:
    class Crashing(VirtualFs):
        def link(self, source: str, target: str) -> None:
            if "gen" in os.path.basename(target):
                raise KeyboardInterrupt
            super().link(source, target)

    with pytest.raises(KeyboardInterrupt):
        take(paths, manifest, US, Crashing())
    assert take(paths, manifest, US).epoch == 1


def test_a_zombie_notices_its_successor(paths: RunPaths, manifest: Manifest) -> None:
    fs = VirtualFs()
    zombie = take(paths, manifest, ELSEWHERE, fs)
    zombie.check(now=True)
    take(paths, manifest, US)
    zombie.check()  # checks once a second only
    fs.now_s += 1.0
    with pytest.raises(Superseded, match="epoch 2 has taken over") as caught:
        zombie.check()
    assert caught.value.exit_code == 75


def test_a_removed_or_replaced_directory_is_noticed(paths: RunPaths, manifest: Manifest) -> None:
    lease = take(paths, manifest, US)
    os.rename(paths.root, paths.root + ".moved")
    with pytest.raises(StorageFailed, match="removed or replaced"):
        lease.check(now=True)
    assert not os.path.exists(paths.root)
    os.mkdir(paths.root)
    with pytest.raises(StorageFailed, match="removed or replaced"):
        lease.check(now=True)
    assert os.listdir(paths.root) == []


def test_exactly_one_of_eight_wins(paths: RunPaths, manifest: Manifest) -> None:
    """Eight copies on eight nodes follow the same dead process at the same moment."""
    take(paths, manifest, ELSEWHERE)
    beating(VirtualFs(), paths, manifest, 1).close("failed: node lost")
    with ThreadPoolExecutor(8) as pool:
        for round_number in range(25):
            barrier = Barrier(8)

            def copy(number: int, barrier: Barrier = barrier) -> int:
                process = replace(ELSEWHERE, boot_id=f"boot-{number}")
                fs = VirtualFs()
                # A loser finds the winner and watches it; here the winner is seen beating.
                fs.on_sleep = lambda: beat_latest(paths, manifest)
                barrier.wait()
                try:
                    lease = Lease.take(fs, paths, manifest, "net1", process, 60.0)
                except Superseded:
                    return 0
                return lease.epoch

            epochs = sorted(pool.map(copy, range(8)))
            assert epochs == [0] * 7 + [round_number + 2]
            beating(VirtualFs(), paths, manifest, round_number + 2).close("done")
    assert not [name for name in os.listdir(paths.root) if name.startswith(".tmp")]


def beat_latest(paths: RunPaths, manifest: Manifest) -> None:
    """Beat for whoever holds the latest generation."""
    found = [paths.parse_generation(name) for name in os.listdir(paths.root)]
    epoch = max(entry[1] for entry in found if entry)
    beating(VirtualFs(), paths, manifest, epoch).beat()
