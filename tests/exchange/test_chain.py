"""A chain of three in one process: net2 has two links, on each carrier."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from dualnet.errors import DualnetError, NeighbourDied, UsageError
from dualnet.exchange import ExchangeSettings, Link, Membership, Message, open_link
from dualnet.exchange.channel import Channel, Counters
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.peek import peek
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.tcp.address import address_of
from tests.exchange.carriers import QUICK

LOWER, UPPER = Link("net1", "net2"), Link("net2", "net3")
LINKS = {"net1": (LOWER,), "net2": (LOWER, UPPER), "net3": (UPPER,)}


class Chain:
    """Opens pieces of one run, and closes in the end what a test leaves open."""

    def __init__(self, carrier: str, folder: Path) -> None:
        self.carrier = carrier
        self.run_dir = str(folder / "run")
        os.mkdir(self.run_dir)
        self._locks = str(folder / "locks")
        self.members: dict[str, Membership] = {}
        self.ends: dict[tuple[str, Link], Any] = {}

    def start(self, piece: str, process: ProcessId | None = None, **settings: Any) -> Membership:
        """A piece with all its links; `process` is its identity."""
        made = ExchangeSettings(**{**QUICK, "lock_dir": self._locks, **settings})
        membership = Membership(piece, self.run_dir, made, {"config": "c"}, None, process)
        self.members[piece] = membership
        for link in LINKS[piece]:
            self.ends[piece, link] = open_link(self.carrier, membership, link, made)
        return membership

    def start_all(self, **settings: Any) -> Chain:
        for piece in LINKS:
            self.start(piece, **settings)
        return self

    def pass_on(self, iteration: int) -> None:
        """A batch up through both links, an answer down, each with all that was done to it."""
        one, two = self.ends["net1", LOWER], self.ends["net2", LOWER]
        upper, three = self.ends["net2", UPPER], self.ends["net3", UPPER]
        one.send(up(iteration))
        upper.send(Message("up", iteration, double(two.receive("up", iteration))))
        three.send(Message("down", iteration, double(three.receive("up", iteration))))
        two.send(Message("down", iteration, double(upper.receive("down", iteration))))
        got = one.receive("down", iteration).arrays["x"]
        np.testing.assert_array_equal(got, 8 * up(iteration).arrays["x"])

    def kill(self, piece: str) -> None:
        """End a piece as SIGKILL would: no final state, its locks and connections gone."""
        membership = self.members.pop(piece)
        membership.heartbeat._ending = True
        membership.heartbeat._wake.set()
        for link in LINKS[piece]:
            end = self.ends.pop((piece, link))
            if self.carrier == "files":
                continue
            end._connector.close()
            end._wire._leave_at_s = 0.0
            sender = end._wire._sender
            sender.stop(20)
            if sender.flow is not None:
                sender.flow.connection.close()
            end._connector._thread.join(5)
        assert membership.heartbeat._thread is not None
        membership.heartbeat._thread.join()
        fd, membership._lock._fd = membership._lock._fd, None
        assert fd is not None
        os.close(fd)

    def close(self) -> None:
        for membership in self.members.values():
            membership.close("stopped")


def up(iteration: int) -> Message:
    """What net1 sends, (4, 3) float32."""
    numbers = np.random.RandomState(iteration).rand(4, 3)
    return Message("up", iteration, {"x": numbers.astype(np.float32)})


def double(message: Message) -> dict[str, np.ndarray]:
    return {name: 2 * values for name, values in message.arrays.items()}


def in_thread(work: Callable[[], None]) -> Callable[[], BaseException | None]:
    """Do it in a thread; the function returned gives its error."""
    errors: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
            errors.append(None)
        except DualnetError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> BaseException | None:
        thread.join(60)
        return errors[0]

    return result


@pytest.fixture(params=["files", "tcp", "torch"])
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chain]:
    if request.param == "torch":
        pytest.importorskip("dualnet.exchange.distributed")
    made = Chain(request.param, tmp_path)
    yield made
    made.close()


def test_messages_pass_a_middle_piece_and_are_counted_by_link(chain: Chain) -> None:
    chain.start_all()
    for iteration in range(3):
        chain.pass_on(iteration)
    for membership in chain.members.values():
        membership.heartbeat.beat()
    view = peek(chain.run_dir)
    assert view.problems == []
    assert list(view.pieces) == ["net1", "net2", "net3"]
    middle = view.piece("net2")
    assert list(middle.links) == ["net1-net2", "net2-net3"]
    assert [(link.sent, link.received) for link in middle.links.values()] == [(3, 3), (3, 3)]
    assert (middle.epoch, middle.sent, middle.received) == (1, 6, 6)
    counters = Counters.total(chain.ends["net2", link].counters for link in LINKS["net2"])
    assert (counters.messages_sent, counters.bytes_received) == (6, 6 * up(0).nbytes)
    for piece in ("net3", "net2", "net1"):
        chain.members[piece].close("done", wait=False)
    assert peek(chain.run_dir).piece("net2").state == "done"


def test_a_handshake_over_each_link(chain: Chain) -> None:
    chain.start_all()

    def meet(piece: str) -> dict[str, Any]:
        return {
            link.name: chain.ends[piece, link].handshake({"from": piece, "over": link.name})
            for link in LINKS[piece]
        }

    found: dict[str, dict[str, Any]] = {}
    threads = [
        threading.Thread(target=lambda p=piece: found.update({p: meet(p)}))  # type: ignore[misc]
        for piece in LINKS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found["net2"] == {
        "net1-net2": {"from": "net1", "over": "net1-net2"},
        "net2-net3": {"from": "net3", "over": "net2-net3"},
    }
    assert found["net3"] == {"net2-net3": {"from": "net2", "over": "net2-net3"}}


def test_a_killed_middle_piece_replays_both_links(chain: Chain) -> None:
    """Its neighbours wait, and read on where they were; what it sends again is compared."""
    for piece in LINKS:
        # As far as anybody can tell, net2 is dead as soon as it no longer does anything.
        process = replace(ProcessId.current(), start="1") if piece == "net2" else None
        chain.start(piece, process, restart_grace_s=20.0)
    for iteration in range(2):
        chain.pass_on(iteration)
    for key, end in chain.ends.items():
        if key[0] == "net2":
            assert (end.seq_sent, end.seq_received) == (2, 2)
            end.checkpoint_passed(2)
    for iteration in range(2, 5):
        chain.pass_on(iteration)
    chain.kill("net2")
    net1, net3 = chain.ends["net1", LOWER], chain.ends["net3", UPPER]
    net1.send(up(5))
    results: dict[str, np.ndarray] = {}
    answers = in_thread(lambda: results.update(down=net1.receive("down", 5).arrays["x"]))

    def answer() -> None:
        net3.send(Message("down", 5, double(net3.receive("up", 5))))

    replies = in_thread(answer)
    chain.start("net2", restart_grace_s=20.0)
    below, above = chain.ends["net2", LOWER], chain.ends["net2", UPPER]
    for end in (below, above):
        end.resume(2, 2)
    for iteration in range(2, 6):
        above.send(Message("up", iteration, double(below.receive("up", iteration))))
        below.send(Message("down", iteration, double(above.receive("down", iteration))))
    assert answers() is None and replies() is None
    np.testing.assert_array_equal(results["down"], 8 * up(5).arrays["x"])
    assert (below.counters.replays_verified, above.counters.replays_verified) == (3, 3)
    assert chain.members["net2"].epoch == 2


def test_the_words_of_the_piece_at_fault_reach_the_other_end(chain: Chain) -> None:
    """net3 fails, net2 ends over it, and net1 names net3's reason, not net2's wait."""
    chain.start_all()
    chain.pass_on(0)

    def middle() -> None:
        with chain.members["net2"]:
            chain.ends["net2", UPPER].receive("down", 1)

    ended = in_thread(middle)
    chain.members["net3"].close("failed: OutOfMemory: 8 GiB wanted")
    error = ended()
    assert isinstance(error, NeighbourDied) and "net3 is gone" in str(error)
    with pytest.raises(NeighbourDied) as caught:
        chain.ends["net1", LOWER].receive("down", 1)
    assert "net2 is gone" in str(caught.value)
    assert "failed: OutOfMemory: 8 GiB wanted" in str(caught.value)


def test_whom_a_piece_waits_for_is_seen(chain: Chain) -> None:
    chain.start_all()
    chain.pass_on(0)
    middle = chain.members["net2"]
    seen: list[str] = []

    def poll() -> None:
        middle.heartbeat.beat()
        seen.append(peek(chain.run_dir).piece("net2").waits_for)
        if len(seen) == 1:
            chain.ends["net3", UPPER].send(Message("down", 1, up(1).arrays))

    middle.on_wait = poll
    chain.ends["net2", UPPER].receive("down", 1)
    assert seen and set(seen) == {"net3"}
    assert middle.waits_for == ""
    chain.ends["net1", LOWER].send(up(1))
    seen.clear()
    chain.ends["net2", LOWER].receive("up", 1)
    assert set(seen) <= {"net1"}


def test_done_waits_until_both_neighbours_have_read_all(chain: Chain) -> None:
    chain.start_all()
    chain.pass_on(0)
    for link in LINKS["net2"]:
        chain.ends["net2", link].send(Message("tie", 1, up(1).arrays))
    closed = in_thread(lambda: chain.members["net2"].close("done"))
    time.sleep(0.1)
    assert peek(chain.run_dir).piece("net2").state == "running"
    for piece, link in (("net1", LOWER), ("net3", UPPER)):
        chain.ends[piece, link].receive("tie", 1)
        chain.members[piece].heartbeat.beat()
    assert closed() is None
    assert peek(chain.run_dir).piece("net2").state == "done"


def test_a_link_is_opened_once_by_those_at_its_ends(tmp_path: Path) -> None:
    chain = Chain("files", tmp_path)
    try:
        net1 = chain.start("net1")
        settings = ExchangeSettings()
        with pytest.raises(UsageError, match="net1-net2: net1 has opened it already"):
            open_link("files", net1, LOWER, settings)
        # The end that there is goes on.
        chain.start("net2")
        chain.ends["net1", LOWER].send(up(0))
        assert chain.ends["net2", LOWER].receive("up", 0).iteration == 0
        with pytest.raises(UsageError, match="net2-net3: net1 is at neither end"):
            open_link("files", net1, UPPER, settings)
    finally:
        chain.close()


def test_a_resend_is_answered_while_another_link_is_waited_for(tmp_path: Path) -> None:
    """net1 has read a damaged message of net2, which waits for net3 at that time."""
    chain = Chain("files", tmp_path)
    try:
        chain.start_all()
        lower: Channel = chain.ends["net2", LOWER]
        assert isinstance(lower, FileChannel)
        lower.send(Message("down", 0, up(0).arrays))
        (path,) = Path(chain.run_dir, "exchange/net1-net2").glob("net2.i*.npy")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        got = in_thread(lambda: chain.ends["net1", LOWER].receive("down", 0) and None)
        waits = in_thread(lambda: chain.ends["net2", UPPER].receive("down", 0) and None)
        assert got() is None
        chain.ends["net3", UPPER].send(Message("down", 0, up(0).arrays))
        assert waits() is None
        assert lower.counters.resends == 1
    finally:
        chain.close()


def test_an_error_of_one_link_ends_the_wait_for_another(tmp_path: Path) -> None:
    """Over tcp the neighbour may have another configuration: it is not found out at the end."""
    chain = Chain("tcp", tmp_path)
    try:
        chain.start_all()
        chain.pass_on(0)
        chain.ends["net2", LOWER]._wire.fail(UsageError("another configuration"))
        with pytest.raises(UsageError, match="another configuration"):
            chain.ends["net2", UPPER].receive("down", 1)
    finally:
        with suppress(DualnetError):
            chain.close()


def test_an_address_for_each_link() -> None:
    setting = "node1:29400, node2:29401"
    assert str(address_of(LOWER, setting)) == "node1:29400"
    assert str(address_of(UPPER, setting)) == "node2:29401"
    assert address_of(UPPER, "") is None
    with pytest.raises(DualnetError, match="none for link net3-net4"):
        address_of(Link("net3", "net4"), setting)
