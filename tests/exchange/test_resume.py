"""A piece that starts again: replay, proof of determinism, and what is kept for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import (
    DamagedMessage,
    DeterminismViolated,
    StorageFailed,
    Superseded,
    UsageError,
)
from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import VirtualFs


def up(iteration: int) -> Message:
    """net1's message."""
    return Message("train", iteration, {"pool2": np.full((3, 2), iteration, np.float32)})


def down(iteration: int) -> Message:
    """net2's answer."""
    return Message("train", iteration, {"conv3p": np.full((2, 2), -iteration, np.float32)})


def value(message: Message) -> float:
    """What is in every element of a message."""
    (array,) = message.arrays.values()
    assert (array == array.flat[0]).all()
    return float(array.flat[0])


def lockstep(net1: FileChannel, net2: FileChannel, start: int, stop: int) -> None:
    """Some whole iterations."""
    for iteration in range(start, stop):
        net1.send(up(iteration))
        assert value(net2.receive("train", iteration)) == iteration
        net2.send(down(iteration))
        assert value(net1.receive("train", iteration)) == -iteration


def test_restart_of_one_piece(open_end: OpenEnd) -> None:
    """net1 dies in iteration 7 after its checkpoint at 4; net2 notices nothing."""
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 4)
    sent, received = net1.seq_sent, net1.seq_received
    net1.checkpoint_passed(4)
    lockstep(net1, net2, 4, 7)
    net1.send(up(7))
    net1.membership.close("failed: killed")

    again = open_end("net1")
    assert again.epoch == 2
    again.resume(sent, received)
    for iteration in range(4, 7):
        again.send(up(iteration))
        assert value(again.receive("train", iteration)) == -iteration
    assert again.counters.replays_verified == 3
    again.send(up(7))
    assert again.counters.replays_verified == 4
    assert value(net2.receive("train", 7)) == 7
    net2.send(down(7))
    assert value(again.receive("train", 7)) == -7
    lockstep(again, net2, 8, 10)
    assert again.counters.replays_verified == 4


def test_restart_of_both_pieces_at_different_checkpoints(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 3)
    at_3 = net1.seq_sent, net1.seq_received
    lockstep(net1, net2, 3, 5)
    at_5 = net2.seq_sent, net2.seq_received
    lockstep(net1, net2, 5, 6)
    net1.membership.close("failed: power")
    net2.membership.close("failed: power")

    net1, net2 = open_end("net1"), open_end("net2")
    net1.resume(*at_3)
    net2.resume(*at_5)
    for iteration in range(3, 5):
        net1.send(up(iteration))
        assert value(net1.receive("train", iteration)) == -iteration
    lockstep(net1, net2, 5, 8)


def test_messages_from_before_the_senders_checkpoint_are_still_read(open_end: OpenEnd) -> None:
    """net1 ran ahead, made a checkpoint and died; net2 has yet to read what came before."""
    net1, net2 = open_end("net1"), open_end("net2")
    for iteration in range(5):
        net1.send(up(iteration))
    assert value(net2.receive("train", 0)) == 0
    net1.checkpoint_passed(5)
    net1.membership.close("failed: killed")
    again = open_end("net1")
    again.resume(5, 0)
    again.send(up(5))
    for iteration in range(1, 6):
        assert value(net2.receive("train", iteration)) == iteration


def test_three_starts_in_a_row(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    for iteration in range(4):
        net1.send(up(iteration))
    for start in (2, 3):
        net1.membership.close("failed: killed")
        net1 = open_end("net1")
        net1.resume(start, 0)
    net1.send(up(3))
    assert net1.counters.replays_verified == 1
    for iteration in range(4):
        assert value(net2.receive("train", iteration)) == iteration


def test_a_start_without_checkpoint_replays_everything(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 3)
    net2.membership.close("failed: killed")
    again = open_end("net2")
    for iteration in range(3):
        assert value(again.receive("train", iteration)) == iteration
        again.send(down(iteration))
    assert again.counters.replays_verified == 3
    lockstep(net1, again, 3, 5)


def test_a_survivor_waits_for_the_replay_to_reach_it(open_end: OpenEnd) -> None:
    fs = VirtualFs()
    net1, net2 = open_end("net1"), open_end("net2", fs=fs, restart_grace_s=60.0)
    for iteration in range(3):
        net1.send(up(iteration))
        net2.receive("train", iteration)
    net1.membership.close("failed: killed")
    started: list[FileChannel] = []

    def restart() -> None:
        if fs.now_s > 1030 and not started:
            started.append(open_end("net1"))
        elif started and started[0].seq_sent < 4 and fs.now_s > 1040:
            started[0].send(up(started[0].seq_sent))

    fs.on_sleep = restart
    assert value(net2.receive("train", 3)) == 3


@pytest.mark.parametrize("element", [0, 5])
def test_a_different_replay_is_refused(open_end: OpenEnd, element: int) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 2)
    net1.membership.close("failed: killed")
    again = open_end("net1")
    again.send(up(0))
    wrong = up(1)
    wrong.arrays["pool2"].flat[element] = np.nextafter(np.float32(1), np.float32(2))
    files = sorted(os.listdir(again._paths.root))
    with pytest.raises(
        DeterminismViolated, match=r"message 2 of net1 \(train 1, pool2\)"
    ) as caught:
        again.send(wrong)
    assert caught.value.exit_code == 76
    assert again.seq_sent == 1
    assert sorted(os.listdir(again._paths.root)) == files
    assert value(net1_reads(net2, again)) == 2


def net1_reads(net2: FileChannel, net1: FileChannel) -> Message:
    """The piece that refused goes on with the right message; net2 gets it."""
    net1.send(up(1))
    net1.send(up(2))
    return net2.receive("train", 2)


def test_another_message_in_its_place_is_refused(open_end: OpenEnd) -> None:
    net1 = open_end("net1")
    net1.send(up(0))
    net1.membership.close("failed: killed")
    again = open_end("net1")
    with pytest.raises(DeterminismViolated, match="is train 1 now and was train 0"):
        again.send(up(1))


def test_a_record_lost_with_the_machine_is_no_violation(open_end: OpenEnd, run_dir: Path) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    for iteration in range(2):
        net1.send(up(iteration))
    net1.membership.close("failed: power")
    (first,) = (run_dir / "exchange/net1-net2").glob("net1.i000000000000.*.npy")
    os.truncate(first, 0)
    again = open_end("net1")
    for iteration in range(2):
        again.send(up(iteration))
        assert value(net2.receive("train", iteration)) == iteration


def test_a_zombies_messages_are_not_read(open_end: OpenEnd) -> None:
    """epoch 1 was stopped, epoch 2 took over, epoch 1 wakes up and writes on."""
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 2)
    net1.membership._lock.release()
    net1.membership.heartbeat.close("stopped")  # as the takeover sees it
    again = open_end("net1")
    again.resume(2, 2)
    wrong = Message("train", 2, {"pool2": np.full((3, 2), 666, np.float32)})
    net1.send(wrong)  # between two checks for a successor
    fs = net2._fs
    assert isinstance(fs, VirtualFs)
    fs.now_s += 1.0
    fs.on_sleep = lambda: again.send(up(2)) if again.seq_sent == 2 else None
    assert value(net2.receive("train", 2)) == 2


def test_one_that_wakes_up_before_it_resumes_learns_of_its_successor(
    open_end: OpenEnd, run_dir: Path
) -> None:
    """The messages that it would need are gone: its successor is far ahead."""
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 2)
    net1.membership._lock.release()
    net1.membership.heartbeat.close("stopped")
    zombie = open_end("net1")
    zombie.membership._lock.release()
    zombie.membership.heartbeat.close("stopped")
    open_end("net1").resume(2, 2)
    for path in (run_dir / "exchange/net1-net2").glob("net2.i*.npy"):
        path.unlink()
    with pytest.raises(Superseded):
        zombie.resume(0, 0)


def test_resume_comes_first(open_end: OpenEnd) -> None:
    net1 = open_end("net1")
    net1.send(up(0))
    with pytest.raises(UsageError, match="too late"):
        net1.resume(0, 0)


# What is kept, and for how long.


def kept(run_dir: Path, piece: str) -> list[int]:
    """Iterations whose messages are on disk."""
    found = (run_dir / "exchange/net1-net2").glob(f"{piece}.i*.npy")
    return sorted({int(path.name.split(".")[1][1:]) for path in found})


def test_messages_go_when_two_checkpoints_of_both_pieces_passed(
    open_end: OpenEnd, run_dir: Path
) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    lockstep(net1, net2, 0, 2)
    net1.checkpoint_passed(2)
    net2.checkpoint_passed(2)
    lockstep(net1, net2, 2, 4)
    net1.checkpoint_passed(4)
    lockstep(net1, net2, 4, 5)
    assert kept(run_dir, "net1") == [0, 1, 2, 3, 4]
    net2.checkpoint_passed(5)
    lockstep(net1, net2, 5, 6)
    net1.checkpoint_passed(6)
    assert kept(run_dir, "net1") == [2, 3, 4, 5]
    net2.membership.progress()
    net2.checkpoint_passed(6)
    assert kept(run_dir, "net2") == [4, 5] or kept(run_dir, "net2") == [2, 3, 4, 5]


def test_a_restart_from_the_older_checkpoint_finds_all_it_needs(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    places = []
    for start in range(0, 12, 3):
        lockstep(net1, net2, start, start + 3)
        places.append((net1.seq_sent, net1.seq_received))
        net1.checkpoint_passed(start + 3)
        net2.checkpoint_passed(start + 3)
    net1.membership.close("failed: killed")
    again = open_end("net1")
    again.resume(*places[-2])
    for iteration in range(9, 12):
        again.send(up(iteration))
        assert value(again.receive("train", iteration)) == -iteration
    assert again.counters.replays_verified == 3


def test_a_restart_before_the_oldest_checkpoint_is_refused(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1", retain=1), open_end("net2", retain=1)
    for start in range(0, 9, 3):
        lockstep(net1, net2, start, start + 3)
        for end in (net1, net2, net1):
            end.checkpoint_passed(start + 3)
    net1.membership.close("failed: killed")
    again = open_end("net1")
    with pytest.raises(DamagedMessage, match="message 1 of net2 was deleted"):
        again.resume(0, 0)


def test_without_retention_a_message_goes_once_it_is_read(open_end: OpenEnd, run_dir: Path) -> None:
    fs = VirtualFs()
    net1, net2 = open_end("net1", fs=fs, retain=0), open_end("net2", fs=fs, retain=0)
    for start in range(20):
        lockstep(net1, net2, start, start + 1)
        fs.now_s += 1.0
        assert len(kept(run_dir, "net1")) <= 2
        assert len(kept(run_dir, "net2")) <= 2


def test_a_sender_without_retention_waits_for_room(open_end: OpenEnd, run_dir: Path) -> None:
    """net1 streams; the budget holds three messages; net2 reads one each second."""
    fs = VirtualFs()
    net1 = open_end("net1", fs=fs, retain=0, disk_budget_bytes=3 * (256 + 24))
    net2 = open_end("net2", retain=0)

    def read_on() -> None:
        if fs.now_s - 1000.0 > net2.seq_received:
            net2.receive("train", net2.seq_received)
            net2.membership.heartbeat.beat()

    fs.on_sleep = read_on
    for iteration in range(10):
        net1.send(up(iteration))
        assert len(kept(run_dir, "net1")) <= 3
    assert net2.seq_received >= 6
    assert net1.counters.wait_s > 5.0


def test_a_full_budget_is_said(open_end: OpenEnd) -> None:
    net1 = open_end("net1", disk_budget_bytes=1000)
    with pytest.raises(StorageFailed, match="disk_budget_bytes 1000"):
        for iteration in range(10):
            net1.send(up(iteration))
    assert net1.seq_sent == 3


def test_reserve(open_end: OpenEnd) -> None:
    class SmallDisk(VirtualFs):
        def statvfs(self, path: str) -> os.statvfs_result:
            return os.statvfs_result((4096, 1024, 100, 100, 100, 9, 9, 9, 0, 255))

    net1 = open_end("net1", fs=SmallDisk())
    net1.reserve(256, 100)
    with pytest.raises(StorageFailed, match="102400 bytes free, 204800 wanted"):
        net1.reserve(512, 100)


# However often a piece is started, of each message one copy stays.


def sizes(run_dir: Path, piece: str) -> dict[str, int]:
    """Names of a piece's messages, without the epoch, to the bytes of all their copies."""
    found: dict[str, int] = {}
    for path in (run_dir / "exchange/net1-net2").glob(f"{piece}.i*.npy"):
        name = path.name.rpartition(".e")[0]
        found[name] = found.get(name, 0) + path.stat().st_size
    return found


def test_lives_without_a_checkpoint_leave_one_copy_of_each_message(
    open_end: OpenEnd, run_dir: Path
) -> None:
    net1 = open_end("net1")
    for iteration in range(6):
        net1.send(up(iteration))
    once = sizes(run_dir, "net1")
    most = max(once.values())
    for reach in (6, 0, 3, 1, 6, 2, 5, 6, 4):
        net1.membership.close("failed: killed")
        net1 = open_end("net1")
        net1.resume(0, 0)
        for iteration in range(reach):
            net1.send(up(iteration))
            assert sum(sizes(run_dir, "net1").values()) <= sum(once.values()) + most
        assert sizes(run_dir, "net1") == once
    # What there is can be read, from before the last start's checkpoint and after.
    net1.membership.close("failed: killed")
    net1, net2 = open_end("net1"), open_end("net2")
    net1.resume(3, 0)
    net1.send(up(3))
    assert [value(net2.receive("train", iteration)) for iteration in range(4)] == [0, 1, 2, 3]


def test_what_earlier_versions_left_is_cleared_up(open_end: OpenEnd, run_dir: Path) -> None:
    net1 = open_end("net1")
    for iteration in range(3):
        net1.send(up(iteration))
    once = sizes(run_dir, "net1")
    net1.membership.close("failed: killed")
    net1 = open_end("net1")
    kept = {p: p.read_bytes() for p in (run_dir / "exchange/net1-net2").glob("net1.i*.npy")}
    net1.resume(0, 0)
    for iteration in range(2):
        net1.send(up(iteration))
    for path, content in kept.items():  # the copies of epoch 1, as they used to stay
        path.write_bytes(content)
        path.chmod(0o600)
    net1.membership.close("failed: killed")
    net1, net2 = open_end("net1"), open_end("net2")
    net1.resume(2, 0)
    assert sizes(run_dir, "net1") == once
    net1.send(up(2))
    assert [value(net2.receive("train", iteration)) for iteration in range(3)] == [0, 1, 2]


def test_a_message_that_a_start_was_killed_over_is_none(open_end: OpenEnd, run_dir: Path) -> None:
    """Its file has its name, but the record does not count it: the older one stays."""
    net1 = open_end("net1")
    for iteration in range(3):
        net1.send(up(iteration))
    once = sizes(run_dir, "net1")
    net1.membership.close("failed: killed")

    class Dies(VirtualFs):
        def rename(self, source: str, target: str) -> None:
            super().rename(source, target)
            if ".s000000000002.e000002" in target:
                raise KeyboardInterrupt

    net1 = open_end("net1", fs=Dies())
    net1.resume(0, 0)
    net1.send(up(0))
    with pytest.raises(KeyboardInterrupt):
        net1.send(up(1))
    net1.membership.close("failed: killed")
    assert sum(sizes(run_dir, "net1").values()) > sum(once.values())
    net1, net2 = open_end("net1"), open_end("net2")
    net1.resume(2, 0)
    assert sizes(run_dir, "net1") == once
    assert [value(net2.receive("train", iteration)) for iteration in range(2)] == [0, 1]


def test_where_a_record_cannot_be_read_every_copy_stays(open_end: OpenEnd, run_dir: Path) -> None:
    net1 = open_end("net1")
    for iteration in range(2):
        net1.send(up(iteration))
    net1.membership.close("failed: killed")
    net1 = open_end("net1")
    copies = {p: p.read_bytes() for p in (run_dir / "exchange/net1-net2").glob("net1.i*.npy")}
    net1.resume(0, 0)
    net1.send(up(0))
    for path, content in copies.items():
        path.write_bytes(content)
        path.chmod(0o600)
    net1.membership.close("failed: killed")
    (run_dir / "exchange/net1-net2/net1.e000002.status").write_bytes(b"damaged")
    before = sizes(run_dir, "net1")
    net1 = open_end("net1")
    net1.resume(0, 0)
    assert sizes(run_dir, "net1") == before


def test_a_replay_fits_where_the_first_time_did(open_end: OpenEnd, run_dir: Path) -> None:
    net1 = open_end("net1")
    net1.send(up(0))
    room = sum(sizes(run_dir, "net1").values()) * 2
    net1.send(up(1))
    net1.membership.close("failed: killed")
    net1 = open_end("net1", disk_budget_bytes=room)
    net1.resume(0, 0)
    for iteration in range(2):
        net1.send(up(iteration))
    with pytest.raises(StorageFailed, match="exceed exchange.disk_budget_bytes"):
        net1.send(up(2))
