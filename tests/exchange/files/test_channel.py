"""The file channel: two pieces in one process, on a virtual clock."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import (
    DamagedMessage,
    ManifestMismatch,
    NeighbourDied,
    StorageFailed,
    UsageError,
)
from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import ShortFs, VirtualFs


def batch(iteration: int, kind: str = "train") -> Message:
    """What net1 sends: pool2 (4, 3, 2, 2) float32 and its labels."""
    random = np.random.RandomState(iteration)
    pool2 = random.rand(4, 3, 2, 2).astype(np.float32)
    label = random.randint(0, 10, 4).astype(np.float32)
    return Message(kind, iteration, {"pool2": pool2, "label": label})


def assert_same(ours: Message, theirs: Message) -> None:
    assert (ours.kind, ours.iteration) == (theirs.kind, theirs.iteration)
    assert list(ours.arrays) == list(theirs.arrays)
    for name, array in ours.arrays.items():
        assert theirs.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs.arrays[name], array)


def data_files(run_dir: Path, *parts: str) -> list[Path]:
    """Data files whose names hold all `parts`, oldest first."""
    found = (run_dir / "exchange/net1-net2").glob("*.npy")
    return sorted(path for path in found if all(part in path.name for part in parts))


@pytest.fixture
def pair(open_end: OpenEnd) -> tuple[FileChannel, FileChannel, VirtualFs]:
    """net1, net2, and the clock of net2; net1 does its housekeeping while net2 sleeps."""
    fs = VirtualFs()
    net1, net2 = open_end("net1", fs=fs), open_end("net2", fs=fs)
    fs.on_sleep = net1.membership.progress
    return net1, net2, fs


def test_lockstep(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, net2, _ = pair
    for iteration in range(5):
        net1.send(batch(iteration))
        up = net2.receive("train", iteration)
        assert_same(batch(iteration), up)
        answer = Message("train", iteration, {"conv3p": up.arrays["pool2"] * 2})
        net2.send(answer)
        assert_same(answer, net1.receive("train", iteration))
    assert net1.seq_sent == net1.seq_received == net2.seq_sent == net2.seq_received == 5
    assert net1.counters.bytes_sent == net2.counters.bytes_received == 5 * (192 + 16)
    assert net1.counters.messages_received == 5
    assert net2.counters.damaged_reads == 0


def test_several_messages_under_way(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, net2, _ = pair
    sent = [batch(7, "test"), batch(7, "test"), batch(8), batch(0, "weights"), batch(9, "test")]
    for message in sent:
        net1.send(message)
    for message in sent:
        assert_same(message, net2.receive(message.kind, message.iteration))


def test_shapes_may_change(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, net2, _ = pair
    for size in (3, 1, 0, 5, 5):
        net1.send(Message("train", size, {"x": np.arange(size * 2).reshape(size, 2)}))
    for size in (3, 1, 0, 5, 5):
        array = net2.receive("train", size).arrays["x"]
        np.testing.assert_array_equal(array, np.arange(size * 2).reshape(size, 2))
    assert len(list(Path(net1._paths.root).glob("net1.*.layout.*"))) == 4


def test_received_arrays_are_the_callers_own(
    pair: tuple[FileChannel, FileChannel, VirtualFs],
) -> None:
    net1, net2, _ = pair
    buffer = np.zeros(4, np.float32)
    received = []
    for iteration in range(3):
        buffer[:] = iteration
        net1.send(Message("train", iteration, {"x": buffer}))
        received.append(net2.receive("train", iteration).arrays["x"])
    assert [array[0] for array in received] == [0, 1, 2]
    received[0][:] = 9


def test_arrays_in_any_order_of_memory(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, net2, _ = pair
    array = np.arange(24.0).reshape(2, 3, 4)
    for number, view in enumerate(
        [array.T, array[:, ::2], np.asfortranarray(array), array[0, 0, 0]]
    ):
        net1.send(Message("train", number, {"x": np.asarray(view)}))
        back = net2.receive("train", number).arrays["x"]
        np.testing.assert_array_equal(back, view)
        assert back.flags.c_contiguous and back.shape == np.shape(view)


def test_numpy_reads_the_files(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path
) -> None:
    net1, _, _ = pair
    net1.send(batch(3))
    (path,) = data_files(run_dir, "pool2")
    np.testing.assert_array_equal(np.load(path), batch(3).arrays["pool2"])
    assert path.stat().st_mode & 0o777 == 0o600


def test_short_reads_and_writes(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1", fs=ShortFs()), open_end("net2", fs=ShortFs())
    net1.send(batch(0))
    assert_same(batch(0), net2.receive("train", 0))


def test_network_file_system(open_end: OpenEnd) -> None:
    """fsync of each file and of the directory, and the directory reopened at each poll."""

    class Counting(VirtualFs):
        synced = 0
        opened: list[str] = []

        def fsync(self, fd: int) -> None:
            self.synced += 1
            super().fsync(fd)

        def open(self, path: str, flags: int, mode: int = 0o600) -> int:
            self.opened.append(path)
            return super().open(path, flags, mode)

    fs = Counting()
    net1 = open_end("net1", filesystem="nfs", fs=fs)
    net1.send(batch(0))
    fs.synced = 0
    fs.opened.clear()
    net1.send(batch(1))
    assert fs.synced == 6  # two arrays and the record, each with the directory
    fs.opened.clear()
    net2 = open_end("net2", filesystem="nfs", fs=fs)
    for iteration in range(2):
        assert_same(batch(iteration), net2.receive("train", iteration))
    kind = fs.opened.index(net1._paths.status("net1", 1))
    assert net1._paths.root in fs.opened[:kind]


def test_handshake(open_end: OpenEnd) -> None:
    fs = VirtualFs()
    net1 = open_end("net1", fs=fs)
    answers: list[dict] = []

    def start_net2() -> None:
        if fs.now_s > 1003 and not answers:
            answers.append(open_end("net2").handshake({"piece": "net2", "have": [100, 200]}))

    fs.on_sleep = start_net2
    assert net1.handshake({"piece": "net1"}) == {"piece": "net2", "have": [100, 200]}
    assert answers == [{"piece": "net1"}]


def test_what_cannot_be_sent(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, _, _ = pair
    ones = np.ones(3)
    for message, complaint in [
        (Message("Train", 0, {"x": ones}), "kind 'Train'"),
        (Message("train", -1, {"x": ones}), "iteration -1"),
        (Message("train", 0, {}), "got 0"),
        (Message("train", 0, {"x": [1, 2]}), "list"),  # type: ignore[dict-item]
        (Message("train", 0, {"x": np.array([None])}), "dtype"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            net1.send(message)
    with pytest.raises(UsageError, match="JSON"):
        net1.handshake({"array": ones})
    assert net1.seq_sent == 0


def test_too_large_for_us_and_for_the_neighbour(open_end: OpenEnd) -> None:
    small, large = open_end("net1", max_message_bytes=100), open_end("net2")
    with pytest.raises(UsageError, match="208 bytes"):
        small.send(batch(0))
    large.send(batch(0))
    with pytest.raises(DamagedMessage, match="announces 208 bytes"):
        small.receive("train", 0)


def test_out_of_step(pair: tuple[FileChannel, FileChannel, VirtualFs]) -> None:
    net1, net2, fs = pair
    net1.send(batch(0))
    with pytest.raises(ManifestMismatch, match="is train 0, expected test 0") as caught:
        net2.receive("test", 0)
    assert caught.value.exit_code == 2
    net1.send(batch(1))
    with pytest.raises(ManifestMismatch, match="is train 0, expected train 1"):
        net2.receive("train", 1)
    assert_same(batch(0), net2.receive("train", 0))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [truncate, flip, symlink, fifo, folder, Path.unlink])
def test_damaged_message_is_resent(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path, damage: Callable
) -> None:
    net1, net2, fs = pair
    net1.send(batch(0))
    damage(data_files(run_dir, "pool2")[0])
    assert_same(batch(0), net2.receive("train", 0))
    assert net1.counters.resends == 1
    assert net2.counters.damaged_reads > 0
    assert 5.0 < fs.now_s - 1000.0 < 7.0
    net1.send(batch(1))
    assert_same(batch(1), net2.receive("train", 1))
    assert net1.counters.resends == 1


def test_an_earlier_message_is_resent_from_its_file(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path
) -> None:
    """The sender's own view of the file is whole; the receiver's is not, at first."""
    net1, net2, _ = pair
    for iteration in range(3):
        net1.send(batch(iteration))
    (path,) = data_files(run_dir, "pool2", "i000000000000")
    whole = path.read_bytes()
    truncate(path)
    serve = net1._outbox.resend

    def resend(seq: int) -> bool:
        path.write_bytes(whole)
        done = serve(seq)
        truncate(path)
        return done

    net1._outbox.resend = resend  # type: ignore[method-assign]
    for iteration in range(3):
        assert_same(batch(iteration), net2.receive("train", iteration))
    assert net1.counters.resends == 1


def test_late_data_is_waited_for(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path
) -> None:
    """The record is visible before the data, as caches may have it."""
    net1, net2, fs = pair
    net1.send(batch(0))
    path = data_files(run_dir, "pool2")[0]
    hidden = path.with_name("hidden")
    path.rename(hidden)

    def appear() -> None:
        if fs.now_s > 1002.0 and hidden.exists():
            hidden.rename(path)

    fs.on_sleep = appear
    assert_same(batch(0), net2.receive("train", 0))
    assert net1.counters.resends == 0


def test_damage_that_nobody_repairs(open_end: OpenEnd, run_dir: Path) -> None:
    fs = VirtualFs()
    net1, net2 = open_end("net1"), open_end("net2", fs=fs, resend_timeout_s=40.0)
    net1.send(batch(0))
    truncate(data_files(run_dir, "label")[0])
    with pytest.raises(DamagedMessage, match=r"label.*did not resend it within 40 s") as caught:
        net2.receive("train", 0)
    assert caught.value.exit_code == 73
    assert 45 < fs.now_s - 1000.0 < 48


def test_disk_that_damages_everything(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path
) -> None:
    net1, net2, fs = pair

    def wreck() -> None:
        net1.membership.progress()
        for path in data_files(run_dir):
            os.truncate(path, 10)

    net1.send(batch(0))
    wreck()
    fs.on_sleep = wreck
    with pytest.raises(DamagedMessage, match="even when resent"):
        net2.receive("train", 0)
    assert net1.counters.resends == 1


def test_damaged_stage_record_is_not_believed(
    pair: tuple[FileChannel, FileChannel, VirtualFs],
) -> None:
    net1, net2, fs = pair
    path = Path(net1._paths.status("net1", 1))
    before = path.read_bytes()
    net1.send(batch(0))
    good = path.read_bytes()
    forged = good.replace(b'"seq":1', b'"seq":2')
    for bad in (b"", good.rstrip()[:-40], before, forged, b"x" * 10_000):
        path.write_bytes(bad)
        net2._neighbour.poll()
        assert net2._neighbour.locate(1) is None
    fs.on_sleep = lambda: path.write_bytes(good) and None
    assert_same(batch(0), net2.receive("train", 0))


def test_record_of_another_run_is_not_believed(
    open_end: OpenEnd, run_dir: Path, tmp_path: Path
) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    net1.send(batch(0))
    record = Path(net1._paths.status("net1", 1))
    foreign = record.read_bytes()
    (run_dir / "exchange").rename(tmp_path / "moved")
    for end in (net1, net2):
        end.membership.close("stopped")
    open_end("net1")
    record.write_bytes(foreign)
    reader = open_end("net2")
    reader._neighbour.poll()
    assert reader._neighbour.latest is None


def test_vanished_directory(
    pair: tuple[FileChannel, FileChannel, VirtualFs], run_dir: Path
) -> None:
    net1, net2, fs = pair
    net1.send(batch(0))
    fs.on_sleep = lambda: None
    (run_dir / "exchange/net1-net2").rename(run_dir / "moved")
    with pytest.raises(StorageFailed, match="removed"):
        net1.send(batch(1))
    with pytest.raises(StorageFailed, match="removed"):
        net2.receive("train", 0)
    assert not (run_dir / "exchange/net1-net2").exists()
    assert fs.now_s - 1000.0 < 3.0


def test_done_means_that_the_neighbour_has_all(open_end: OpenEnd, run_dir: Path) -> None:
    """net1 is at its end; its last message arrives damaged; it stays and resends it."""
    fs1, fs2 = VirtualFs(), VirtualFs()
    net1, net2 = open_end("net1", fs=fs1, retain=0), open_end("net2", fs=fs2)
    for iteration in range(2):
        net1.send(batch(iteration))
    flip(data_files(run_dir, "pool2", "i000000000001")[0])

    def net1_stays() -> None:
        net1._neighbour.poll()
        net1.housekeeping()

    fs2.on_sleep = net1_stays
    received = []

    def net2_reads() -> None:
        if fs1.now_s > 1000.0 + 3 * (len(received) + 1):
            received.append(net2.receive("train", len(received)))
            net2.membership.heartbeat.beat()

    fs1.on_sleep = net2_reads
    net1.membership.close("done")
    for iteration in range(2):
        assert_same(batch(iteration), received[iteration])
    assert net1.counters.resends == 1
    assert data_files(run_dir) == [], "without retention nothing stays"


def test_done_is_not_said_if_the_neighbour_is_gone(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    with pytest.raises(NeighbourDied, match="failed: MemoryError"), net1.membership:
        net1.send(batch(0))
        net2.membership.close("failed: MemoryError")
    assert net1.membership.heartbeat._pulse.state.startswith("failed: NeighbourDied")


def test_a_neighbour_that_is_done_needs_nothing_more(open_end: OpenEnd) -> None:
    net1 = open_end("net1")
    with net1.membership:
        net1.send(batch(0))
        open_end("net2").membership.close("done")
