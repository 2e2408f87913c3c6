"""A piece in a run, whatever carries its messages: it joins, reports, and leaves."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import ManifestMismatch, StorageFailed, Superseded, UsageError
from dualnet.exchange import ExchangeSettings, Link, Membership, open_link
from dualnet.exchange.channel import Message
from dualnet.exchange.peek import peek
from dualnet.exchange.run.heartbeat import Pulse
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import VirtualFs


def batch(iteration: int) -> Message:
    """A small one."""
    return Message("train", iteration, {"x": np.zeros(3, np.float32)})


def test_other_configuration_is_refused(open_end: OpenEnd) -> None:
    open_end("net1", identity={"config": "a"})
    with pytest.raises(ManifestMismatch, match="config is 'a' there and 'b' here"):
        open_end("net2", identity={"config": "b"})


def test_second_copy_is_refused_at_once(open_end: OpenEnd) -> None:
    first = open_end("net1")
    fs = VirtualFs()
    with pytest.raises(Superseded, match="another net1"):
        open_end("net1", fs=fs)
    assert fs.slept_s == []
    first.send(batch(0))


def test_piece_and_run_dir(open_end: OpenEnd, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="net1-net2: net3 is at neither end"):
        open_end("net3")
    with pytest.raises(UsageError, match="'single': expected net1, net2"):
        open_end("single")


def test_closed(open_end: OpenEnd) -> None:
    net1 = open_end("net1")
    net1.membership.close()
    with pytest.raises(UsageError, match="closed"):
        net1.send(batch(0))


def test_half_written_files_of_a_dead_start_are_removed(open_end: OpenEnd, run_dir: Path) -> None:
    open_end("net1").membership.close("failed: killed")
    folders = run_dir / "exchange", run_dir / "exchange/net1-net2"
    for folder in folders:
        for name in (".tmp.net1.e000001.1.ab", ".tmp.net2.e000001.1.ab", "notes.txt"):
            (folder / name).write_text("x")
    open_end("net1")
    for folder in folders:
        left = {path.name for path in folder.iterdir()}
        assert ".tmp.net1.e000001.1.ab" not in left
        assert {".tmp.net2.e000001.1.ab", "notes.txt"} <= left


def test_how_it_ended_is_the_last_word(open_end: OpenEnd) -> None:
    net1 = open_end("net1")
    net1.membership.report("blocked:ENOSPC")
    assert state_of(net1) == "blocked:ENOSPC"
    net1.membership.close("stopped")
    net1.membership.report("running")
    net1.membership.close("failed: too late")
    assert state_of(net1) == "stopped"


def state_of(end: object) -> str:
    """The state in its heartbeat file."""
    path = Path(end.membership.paths.heartbeat(end.piece, end.epoch))  # type: ignore[attr-defined]
    return Pulse.unseal(end._manifest.key, path.read_bytes()).state  # type: ignore[attr-defined]


def test_a_piece_is_free_again_when_opening_fails(open_end: OpenEnd, run_dir: Path) -> None:
    """A start that took its piece and could not continue leaves it, and says so."""

    class NoList(VirtualFs):
        def listdir(self, path: str) -> list[str]:
            raise PermissionError(13, "Permission denied", path)

    with pytest.raises(StorageFailed):
        open_end("net1", fs=NoList())
    second = open_end("net1")
    second.send(batch(0))


@pytest.mark.parametrize("retain", [1, 2])
def test_only_what_the_oldest_kept_checkpoint_has_passed_may_go(
    open_end: OpenEnd, retain: int
) -> None:
    net1 = open_end("net1", retain=retain)
    for iteration in (1, 2, 3):
        net1.send(batch(iteration))
        net1.checkpoint_passed(iteration)
        record = net1._outbox.record
        assert record.checkpoint == iteration
        assert record.checkpointed_sent == max(0, iteration + 1 - retain)


def test_room_is_checked_before_it_is_needed(open_end: OpenEnd) -> None:
    net1 = open_end("net1", retain=2, disk_budget_bytes=1000)
    net1.reserve(50, 10)
    with pytest.raises(StorageFailed, match="1002 more exceed exchange.disk_budget_bytes 1000"):
        net1.reserve(501, 1)


# A full disk at the start.


class FullFs(VirtualFs):
    """No file can be made until `free_s`; what is there can be written over.

    Attributes:
        room: files that can be made all the same.
    """

    free_s = float("inf")
    room = 0

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_CREAT and self.now_s < self.free_s and not os.path.exists(path):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self.room -= 1
        return super().open(path, flags, mode)


@pytest.mark.parametrize("room", range(6))
def test_a_start_waits_until_there_is_room(open_end: OpenEnd, room: int) -> None:
    """Secret, manifest, lock, heartbeat, generation, record: each may be the one without room."""
    for start in (1, 2):
        fs = FullFs()
        fs.room, fs.free_s = room, fs.now_s + 100.0
        end = open_end("net1", fs=fs)
        # A restart makes four of them.
        assert bool(fs.slept_s) == (start == 1 or room < 4)
        assert end.epoch == start
        end.send(batch(0))
        end.membership.close("stopped")


#: Files that starts find room for, one after the other; secret and manifest stay from those before.
@pytest.mark.parametrize(("start", "rooms"), [(1, (0, 1, 1, 1, 2)), (2, (0, 1, 2))])
def test_a_start_without_room_leaves_nothing_half_done(
    open_end: OpenEnd, run_dir: Path, tmp_path: Path, start: int, rooms: tuple[int, ...]
) -> None:
    """The one without room is in turn secret, manifest, lock, heartbeat and generation."""
    if start == 2:
        open_end("net1").membership.close("stopped")
    root = run_dir / "exchange"
    for room in rooms:
        fs = FullFs()
        fs.room = room
        with pytest.raises(StorageFailed, match="ENOSPC|No space left") as caught:
            open_end("net1", fs=fs, storage_timeout_s=60.0)
        assert caught.value.exit_code == 74
        assert 30 < sum(fs.slept_s) <= 60
        assert not [path.name for path in root.iterdir() if path.name.startswith(".tmp")]
        assert all(path.stat().st_size for path in root.iterdir())
        assert not list((tmp_path / "locks").glob("*"))
    assert (root / f"net1.e{start:06d}.heartbeat").exists(), "only the generation file was missing"
    end = open_end("net1")
    assert end.epoch == start
    end.send(batch(0))


def test_a_start_without_room_for_its_record_leaves_again(open_end: OpenEnd, run_dir: Path) -> None:
    """By then it has its epoch; the next start need not wait for it."""
    fs = FullFs()
    fs.room = 5
    with pytest.raises(StorageFailed, match="ENOSPC"):
        open_end("net1", fs=fs, storage_timeout_s=60.0)
    assert 30 < sum(fs.slept_s) <= 60
    assert peek(str(run_dir)).piece("net1").state.startswith("failed: cannot write")
    folder = run_dir / "exchange/net1-net2"
    assert not list(folder.iterdir())
    fs = VirtualFs()
    end = open_end("net1", fs=fs)
    assert end.epoch == 2 and fs.slept_s == []
    end.send(batch(0))


@pytest.mark.parametrize(
    ("carrier", "refused"),
    [
        ("files", "dualnet-heartbeat"),
        ("tcp", "dualnet-heartbeat"),
        ("tcp", "dualnet-tcp-beat"),
        ("tcp", "dualnet-tcp"),
    ],
)
def test_a_piece_is_free_again_when_no_thread_can_be_started(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carrier: str, refused: str
) -> None:
    settings = ExchangeSettings(lock_dir=str(tmp_path / "locks"), hash_threads=0)
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == refused:
            raise RuntimeError("can't start new thread")
        real(thread)

    def join() -> None:
        with Membership("net1", str(run_dir), settings, {"config": "c"}) as membership:
            open_link(carrier, membership, Link("net1", "net2"), settings)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            join()
    assert peek(str(run_dir)).piece("net1").state.endswith("can't start new thread")
    join()
