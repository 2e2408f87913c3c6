"""What a channel promises, whatever carries it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualnet.errors import (
    DamagedMessage,
    DeterminismViolated,
    ManifestMismatch,
    NeighbourDied,
    NeighbourHung,
    NeighbourNeverCame,
    Superseded,
    UsageError,
)
from dualnet.exchange.channel import Message
from dualnet.exchange.run.host import ProcessId
from tests.exchange.carriers import Play, playing
from tests.exchange.fakes import ELSEWHERE


@pytest.fixture(params=["files", "tcp", pytest.param("torch", marks=pytest.mark.slow)])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    """A kind on each carrier."""
    with playing(request.param, tmp_path) as made:
        yield made


def batch(iteration: int, name: str = "up") -> Message:
    """What net1 sends: pool2 (4, 3, 2, 2) float32 and its labels."""
    random = np.random.RandomState(iteration)
    pool2 = random.rand(4, 3, 2, 2).astype(np.float32)
    label = random.randint(0, 10, 4).astype(np.float32)
    return Message(name, iteration, {"pool2": pool2, "label": label})


def answer(iteration: int) -> Message:
    """What net2 sends."""
    return Message("down", iteration, {"conv3p": batch(iteration).arrays["pool2"] * 2})


def assert_same(ours: Message, theirs: Message) -> None:
    assert (ours.kind, ours.iteration) == (theirs.kind, theirs.iteration)
    assert list(ours.arrays) == list(theirs.arrays)
    for name, array in ours.arrays.items():
        assert theirs.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs.arrays[name], array)


def gone() -> ProcessId:
    """A process of this machine that provably does not run."""
    me = ProcessId.current()
    return ProcessId(me.host, me.boot_id, me.pid_ns, 2**22 + 1, "1")


def lockstep(net1: Any, net2: Any, start: int, stop: int) -> None:
    """Some whole iterations."""
    for iteration in range(start, stop):
        net1.send(batch(iteration))
        assert_same(batch(iteration), net2.receive("up", iteration))
        net2.send(answer(iteration))
        assert_same(answer(iteration), net1.receive("down", iteration))


# Messages.


def test_lockstep(play: Play) -> None:
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 5)
    assert net1.seq_sent == net1.seq_received == net2.seq_sent == net2.seq_received == 5
    assert net1.counters.bytes_sent == net2.counters.bytes_received == 5 * (192 + 16)
    assert net1.counters.messages_received == net2.counters.messages_sent == 5


def test_lockstep_with_the_fast_digest(play: Play) -> None:
    pytest.importorskip("blake3")
    net1, net2 = play.pair(digest="blake3")
    lockstep(net1, net2, 0, 3)


def test_pieces_with_different_digests(play: Play) -> None:
    pytest.importorskip("blake3")
    play.open("net1", digest="blake3")
    with pytest.raises(ManifestMismatch, match="digest is 'blake3' there and 'sha256' here"):
        play.open("net2")


def test_several_messages_under_way(play: Play) -> None:
    net1, net2 = play.pair()
    sent = [batch(7, "test"), batch(7, "test"), batch(8), batch(0, "weights"), batch(9, "test")]
    for message in sent:
        net1.send(message)
    for message in sent:
        assert_same(message, net2.receive(message.kind, message.iteration))


def test_both_pieces_send_much_at_the_same_time(play: Play) -> None:
    """More than any buffer holds: whoever blocks while sending would block both."""
    net1, net2 = play.pair()
    large = np.random.RandomState(0).rand(1 << 20)

    def send(end: Any) -> None:
        for iteration in range(3):
            end.send(Message("x", iteration, {"x": large + iteration}))

    other = threading.Thread(target=send, args=(net2,))
    other.start()
    send(net1)
    other.join()
    for end in (net1, net2):
        for iteration in range(3):
            got = end.receive("x", iteration).arrays["x"]
            np.testing.assert_array_equal(got, large + iteration)


def test_shapes_may_change(play: Play) -> None:
    net1, net2 = play.pair()
    for size in (3, 1, 0, 5, 5):
        net1.send(Message("up", size, {"x": np.arange(size * 2).reshape(size, 2)}))
    for size in (3, 1, 0, 5, 5):
        array = net2.receive("up", size).arrays["x"]
        np.testing.assert_array_equal(array, np.arange(size * 2).reshape(size, 2))


def test_arrays_are_the_callers_own(play: Play) -> None:
    """The sender reuses its buffer at once, the receiver writes into what it got."""
    net1, net2 = play.pair()
    buffer = np.zeros(4, np.float32)
    for iteration in range(3):
        buffer[:] = iteration
        net1.send(Message("up", iteration, {"x": buffer}))
    buffer[:] = 9
    received = [net2.receive("up", iteration).arrays["x"] for iteration in range(3)]
    assert [array[0] for array in received] == [0, 1, 2]
    received[0][:] = 9


def test_arrays_in_any_order_of_memory(play: Play) -> None:
    net1, net2 = play.pair()
    array = np.arange(24.0).reshape(2, 3, 4)
    views = [array.T, array[:, ::2], np.asfortranarray(array), array[0, 0, 0], array > 3]
    for number, view in enumerate(views):
        net1.send(Message("up", number, {"x": np.asarray(view)}))
        back = net2.receive("up", number).arrays["x"]
        np.testing.assert_array_equal(back, view)
        assert back.flags.c_contiguous and back.shape == np.shape(view)


def test_what_cannot_be_sent(play: Play) -> None:
    net1, net2 = play.pair()
    ones = np.ones(3)
    for message, complaint in [
        (Message("Train", 0, {"x": ones}), "kind 'Train'"),
        (Message("up", -1, {"x": ones}), "iteration -1"),
        (Message("up", 0, {}), "got 0"),
        (Message("up", 0, {"x": [1, 2]}), "list"),  # type: ignore[dict-item]
        (Message("up", 0, {"x": np.array([None])}), "dtype"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            net1.send(message)
    with pytest.raises(UsageError, match="JSON"):
        net1.handshake({"array": ones})
    assert net1.seq_sent == 0
    lockstep(net1, net2, 0, 1)


def test_too_large_for_us_and_for_the_neighbour(play: Play) -> None:
    small, large = play.open("net1", max_message_bytes=100), play.open("net2", dead_after_s=2.0)
    with pytest.raises(UsageError, match="208 bytes"):
        small.send(batch(0))
    large.send(batch(0))
    with pytest.raises(DamagedMessage, match="announces 208 bytes"):
        small.receive("up", 0)


def test_out_of_step(play: Play) -> None:
    net1, net2 = play.pair()
    net1.send(batch(0))
    with pytest.raises(ManifestMismatch, match="is up 0, expected test 0") as caught:
        net2.receive("test", 0)
    assert caught.value.exit_code == 2
    assert_same(batch(0), net2.receive("up", 0))


# Coming and going.


def test_handshake(play: Play) -> None:
    answers: list[dict] = []
    net1 = play.open("net1")

    def second_piece() -> None:
        answers.append(play.open("net2").handshake({"piece": "net2", "have": [100, 200]}))

    other = threading.Thread(target=second_piece)
    other.start()
    assert net1.handshake({"piece": "net1"}) == {"piece": "net2", "have": [100, 200]}
    other.join()
    assert answers == [{"piece": "net1"}]


def test_other_configuration_is_refused(play: Play) -> None:
    play.open("net1", identity={"config": "a"})
    with pytest.raises(ManifestMismatch, match="config is 'a' there and 'b' here"):
        play.open("net2", identity={"config": "b"})


def test_second_copy_is_refused_at_once(play: Play) -> None:
    first, net2 = play.pair()
    with pytest.raises(Superseded, match="another net1"):
        play.open("net1")
    lockstep(first, net2, 0, 1)


def test_closed(play: Play) -> None:
    net1 = play.open("net1")
    net1.membership.close()
    with pytest.raises(UsageError, match="closed"):
        net1.send(batch(0))
    net1.membership.close()


def test_done_means_that_the_neighbour_has_all(play: Play) -> None:
    net1, net2 = play.pair()
    net1.send(batch(0))
    net1.send(batch(1))
    leaving = threading.Thread(target=net1.membership.close)
    leaving.start()
    assert_same(batch(0), net2.receive("up", 0))
    assert leaving.is_alive(), "one message is unread"
    assert_same(batch(1), net2.receive("up", 1))
    net2.membership.progress()
    leaving.join(20)
    assert not leaving.is_alive()


def test_done_is_not_said_if_the_neighbour_is_gone(play: Play) -> None:
    net1, net2 = play.pair()
    with pytest.raises(NeighbourDied, match="failed: MemoryError"), net1.membership:
        net1.send(batch(0))
        net2.receive("up", 0)  # they are connected
        net1.send(batch(1))
        net2.membership.close("failed: MemoryError")


def test_while_waiting(play: Play) -> None:
    """What is awaited can be seen, and what `on_wait` raises ends the wait."""
    net1, _ = play.pair()
    seen = []

    def on_wait() -> None:
        seen.append(net1.awaited)
        raise KeyboardInterrupt

    net1.membership.on_wait = on_wait
    with pytest.raises(KeyboardInterrupt):
        net1.receive("down", 12)
    assert seen == ["down 12"]


# The four states of a neighbour.


def test_never_came(play: Play) -> None:
    net2 = play.open("net2", partner_timeout_s=0.5)
    with pytest.raises(NeighbourNeverCame, match="net1 did not start within 0.5 s"):
        net2.receive("up", 0)


@pytest.mark.parametrize("victim", ["net1", "net2"])
def test_failed(play: Play, victim: str) -> None:
    """Its final state is quoted, and what it had sent before is still read."""
    net1, net2 = play.pair()
    dying, survivor = (net1, net2) if victim == "net1" else (net2, net1)
    dying.send(batch(0))
    dying.membership.close("failed: RuntimeError: out of cheese")
    assert_same(batch(0), survivor.receive("up", 0))
    with pytest.raises(NeighbourDied, match="failed: RuntimeError: out of cheese"):
        survivor.receive("up", 1)


@pytest.mark.parametrize("victim", ["net1", "net2"])
def test_died_on_another_machine(play: Play, victim: str) -> None:
    """Nothing can be proved about its process; that it is silent must do."""
    pieces = {
        piece: play.open(piece, process=ELSEWHERE if piece == victim else None, dead_after_s=1.0)
        for piece in ("net1", "net2")
    }
    lockstep(pieces["net1"], pieces["net2"], 0, 1)
    play.kill(pieces.pop(victim))
    (survivor,) = pieces.values()
    with pytest.raises(NeighbourDied, match="heartbeat has been unchanged"):
        survivor.receive("up", 1)


def test_died_on_this_machine(play: Play) -> None:
    net1, net2 = play.open("net1", process=gone()), play.open("net2")
    lockstep(net1, net2, 0, 1)
    play.kill(net1)
    with pytest.raises(NeighbourDied, match="no longer exists"):
        net2.receive("up", 1)


def test_hung(play: Play) -> None:
    """It beats but gets nothing done; a slow one, that does, is waited for."""
    net1, net2 = play.open("net1"), play.open("net2", hang_timeout_s=1.5)
    lockstep(net1, net2, 0, 1)
    for _ in range(4):
        polls = 0

        def poll() -> None:
            nonlocal polls
            polls += 1
            if polls > 8:
                raise TimeoutError

        net1.membership.progress()
        net2.membership.on_wait = poll
        with pytest.raises(TimeoutError):
            net2.receive("up", 1)
    net2.membership.on_wait = None
    with pytest.raises(NeighbourHung, match="alive but has made no progress"):
        net2.receive("up", 1)


# Starting again.


def test_restart_of_one_piece(play: Play) -> None:
    """net1 dies in iteration 7 after its checkpoint at 4; net2 waits and does not roll back."""
    net1, net2 = play.open("net1"), play.open("net2", restart_grace_s=20.0)
    lockstep(net1, net2, 0, 4)
    sent, received = net1.seq_sent, net1.seq_received
    net1.checkpoint_passed(4)
    lockstep(net1, net2, 4, 7)
    net1.send(batch(7))
    net1.membership.close("failed: killed")

    again = play.open("net1")
    assert again.epoch == 2
    again.resume(sent, received)
    for iteration in range(4, 7):
        again.send(batch(iteration))
        assert_same(answer(iteration), again.receive("down", iteration))
    again.send(batch(7))
    assert again.counters.replays_verified == 4
    assert_same(batch(7), net2.receive("up", 7))
    net2.send(answer(7))
    assert_same(answer(7), again.receive("down", 7))
    lockstep(again, net2, 8, 10)
    assert again.counters.replays_verified == 4


def test_restart_of_the_other_piece(play: Play) -> None:
    net1, net2 = play.open("net1", restart_grace_s=20.0), play.open("net2", process=gone())
    lockstep(net1, net2, 0, 3)
    net2.checkpoint_passed(3)
    lockstep(net1, net2, 3, 5)
    net1.send(batch(5))
    play.kill(net2)

    again = play.open("net2")
    again.resume(3, 3)
    for iteration in range(3, 5):
        assert_same(batch(iteration), again.receive("up", iteration))
        again.send(answer(iteration))
    assert again.counters.replays_verified == 2
    assert_same(batch(5), again.receive("up", 5))
    again.send(answer(5))
    assert_same(answer(5), net1.receive("down", 5))


def test_restart_of_both_pieces_at_different_checkpoints(play: Play) -> None:
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 3)
    at_3 = net1.seq_sent, net1.seq_received
    lockstep(net1, net2, 3, 5)
    at_5 = net2.seq_sent, net2.seq_received
    lockstep(net1, net2, 5, 6)
    net1.membership.close("failed: power")
    net2.membership.close("failed: power")

    net1, net2 = play.pair()
    net1.resume(*at_3)
    net2.resume(*at_5)
    for iteration in range(3, 5):
        net1.send(batch(iteration))
        assert_same(answer(iteration), net1.receive("down", iteration))
    lockstep(net1, net2, 5, 8)


def test_messages_from_before_the_senders_checkpoint_are_still_read(play: Play) -> None:
    """net1 ran ahead, made a checkpoint and died; net2 starts from the beginning."""
    net1, net2 = play.pair()
    for iteration in range(5):
        net1.send(batch(iteration))
    assert_same(batch(0), net2.receive("up", 0))
    net1.checkpoint_passed(5)
    net1.membership.close("failed: killed")
    net2.membership.close("failed: killed")
    net1, net2 = play.pair()
    net1.resume(5, 0)
    net1.send(batch(5))
    for iteration in range(6):
        assert_same(batch(iteration), net2.receive("up", iteration))


def test_the_messages_of_a_neighbour_that_is_done_are_read(play: Play) -> None:
    """net2 dies after net1 has come to its end; it finds all that it needs."""
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 3)
    net1.membership.close()
    net2.membership.close("failed: killed")
    again = play.open("net2")
    for iteration in range(3):
        assert_same(batch(iteration), again.receive("up", iteration))
        again.send(answer(iteration))
    assert again.counters.replays_verified == 3
    again.membership.close()


def test_a_replay_that_differs_stops_the_run(play: Play) -> None:
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 2)
    net1.membership.close("failed: killed")
    again = play.open("net1")
    again.resume(0, 0)
    again.send(batch(0))
    with pytest.raises(DeterminismViolated, match="message 2") as caught:
        again.send(Message("up", 1, {"pool2": batch(1).arrays["pool2"] + 1, "label": np.ones(4)}))
    assert caught.value.exit_code == 76


def test_without_retention_a_lone_restart_is_refused(play: Play) -> None:
    net1, net2 = play.pair(retain=0, restart_grace_s=20.0)
    lockstep(net1, net2, 0, 3)
    net2.membership.close("failed: killed")
    while list((play.run_dir / "exchange/net1-net2").glob("net1.i*.npy")):
        net1.membership.progress()
    again = play.open("net2", retain=0)
    with pytest.raises(DamagedMessage, match="was deleted"):
        again.resume(0, 0)
        again.receive("up", 0)


def test_old_messages_go(play: Play) -> None:
    """Those that the two latest checkpoints of both pieces have behind them."""
    net1, net2 = play.pair()
    for checkpoint in range(1, 5):
        lockstep(net1, net2, 3 * checkpoint - 3, 3 * checkpoint)
        net1.checkpoint_passed(3 * checkpoint)
        net2.checkpoint_passed(3 * checkpoint)

    def left() -> set[str]:
        found = (play.run_dir / "exchange/net1-net2").glob("net1.i*.npy")
        return {path.name.split(".")[1] for path in found}

    # net2's word on its last checkpoint may still be on its way.
    deadline_s = time.monotonic() + 20
    while len(left()) > 3 and time.monotonic() < deadline_s:
        net1.membership.progress()
        time.sleep(0.005)
    net1.membership.close()
    assert left() == {f"i{i:012d}" for i in range(9, 12)}


def changing(iteration: int) -> Message:
    """What net1 sends where images change their size."""
    return Message("up", iteration, {"x": np.full((1, 3 + iteration % 4), iteration, np.float32)})


def test_layouts_of_changing_sizes_go_with_their_messages(play: Play) -> None:
    net1, net2 = play.pair()

    def iterations(one: Any, start: int, stop: int) -> None:
        for iteration in range(start, stop):
            one.send(changing(iteration))
            assert_same(changing(iteration), net2.receive("up", iteration))
            net2.send(answer(iteration))
            one.receive("down", iteration)

    at = 0, 0
    for checkpoint in range(1, 5):
        iterations(net1, 5 * checkpoint - 5, 5 * checkpoint)
        net1.checkpoint_passed(5 * checkpoint)
        net2.checkpoint_passed(5 * checkpoint)
        at = net1.seq_sent, net1.seq_received

    def left() -> int:
        return len(list((play.run_dir / "exchange/net1-net2").glob("net1.*.layout.*")))

    deadline_s = time.monotonic() + 20
    while left() > 6 and time.monotonic() < deadline_s:
        net1.membership.progress()
        time.sleep(0.005)
    if play.carrier == "files":
        assert 1 <= left() <= 6  # of the messages behind the last checkpoint but one
    # One that starts again, on either side, finds the layouts that are left.
    iterations(net1, 20, 22)
    net1.membership.close("failed: killed")
    again = play.open("net1", restart_grace_s=20.0)
    again.resume(*at)
    for iteration in (20, 21):
        again.send(changing(iteration))
        again.receive("down", iteration)
    assert again.counters.replays_verified == 2
    iterations(again, 22, 24)
    sent, received = net2.seq_sent, net2.seq_received
    net2.membership.close("failed: killed")
    net2 = play.open("net2", restart_grace_s=20.0)
    net2.resume(sent - 4, received - 4)
    for iteration in range(20, 24):
        assert_same(changing(iteration), net2.receive("up", iteration))
        net2.send(answer(iteration))


def test_a_replay_of_another_size_stops_the_run(play: Play) -> None:
    net1, net2 = play.pair()
    net1.send(changing(0))
    net2.receive("up", 0)
    net1.membership.close("failed: killed")
    again = play.open("net1")
    again.resume(0, 0)
    with pytest.raises(DeterminismViolated, match="16 bytes now and had 12 before.*seed it"):
        again.send(Message("up", 0, {"x": np.zeros((1, 4), np.float32)}))
