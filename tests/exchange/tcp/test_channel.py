"""The carrier tcp on a wire that breaks, lies and is shared with strangers."""

from __future__ import annotations

import random
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualnet.errors import (
    ConfigError,
    ManifestMismatch,
    NeighbourNeverCame,
    StorageFailed,
    Superseded,
)
from dualnet.exchange.channel import Message
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp import TcpChannel, auth
from dualnet.exchange.tcp.address import Address
from tests.exchange.carriers import LINK, QUICK, Play, playing
from tests.exchange.proxy import Proxy
from tests.exchange.test_carriers import answer, assert_same, batch, lockstep


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Pieces over TCP."""
    with playing("tcp", tmp_path) as made:
        yield made


def port_of(net1: Any) -> int:
    """Where a piece listens."""
    return int(net1._connector._sock.getsockname()[1])


class Line:
    """net1 and net2 with a proxy between them."""

    def __init__(self, play: Play, **settings: Any) -> None:
        self.net1 = play.open("net1", **settings)
        self.proxy = Proxy(lambda: port_of(self.net1))
        made = ExchangeSettings(**{**QUICK, "lock_dir": str(play.run_dir / "locks2"), **settings})
        membership = play.join("net2", made)
        self.net2 = TcpChannel(
            membership, LINK, made, lambda: [Address("127.0.0.1", self.proxy.port)]
        )
        play._opened.append(self.net2)


@pytest.fixture
def line(play: Play) -> Iterator[Line]:
    """A pair whose wire is ours."""
    made = Line(play, retain=0)
    yield made
    made.proxy.close()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_broken_connection_loses_nothing(line: Line, way: str) -> None:
    lockstep(line.net1, line.net2, 0, 2)
    for iteration in range(2, 8):
        line.proxy.cut()
        lockstep(line.net1, line.net2, iteration, iteration + 1)
    assert line.proxy.connections > 1


def test_cut_in_the_middle_of_a_message(line: Line) -> None:
    """A message of 4 MB breaks off at ever other places, then comes whole."""
    chance = random.Random(3)
    large = np.random.RandomState(1).rand(1 << 19)
    cuts = 5

    def change(way: str, passed: int, data: bytes) -> bytes | None:
        nonlocal cuts
        if way == "down" and cuts and passed > chance.randrange(1 << 21):
            cuts -= 1
            return None
        return data

    line.proxy.change = change
    for iteration in range(3):
        line.net1.send(Message("up", iteration, {"x": large + iteration}))
        got = line.net2.receive("up", iteration).arrays["x"]
        np.testing.assert_array_equal(got, large + iteration)
    assert cuts < 5


def test_every_flipped_bit_is_found(line: Line) -> None:
    """A flipped bit breaks the connection; what it was part of is sent again, whole."""
    chance = random.Random(5)
    flips = 0
    last = -1

    def change(way: str, passed: int, data: bytes) -> bytes | None:
        nonlocal flips, last
        # One flip in each connection, after the greetings, anywhere in what follows.
        if line.proxy.connections != last and passed + len(data) > 600:
            last = line.proxy.connections
            if flips < 15:
                flips += 1
                changed = bytearray(data)
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                return bytes(changed)
        return data

    line.proxy.change = change
    iteration = 0
    while flips < 15:
        lockstep(line.net1, line.net2, iteration, iteration + 1)
        iteration += 1
    lockstep(line.net1, line.net2, iteration, iteration + 3)
    assert line.proxy.connections >= 15


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_damaged_copy_counts_only_until_a_good_one_comes(play: Play, way: str) -> None:
    """With no time for a second bad copy in a row, one bad copy of each message does no harm."""
    line = Line(play, retain=0, resend_timeout_s=0.0)
    array = np.random.RandomState(2).rand(1 << 18)
    is_armed = False

    def change(direction: str, passed: int, data: bytes) -> bytes | None:
        nonlocal is_armed
        # What a large piece has in its middle is the array, whatever frames begin or end in it.
        if direction != way or not is_armed or len(data) < 1 << 14:
            return data
        is_armed = False
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        return bytes(changed)

    line.proxy.change = change
    one, other = (line.net1, line.net2) if way == "down" else (line.net2, line.net1)
    for iteration in range(3):
        is_armed = True
        one.send(Message(way, iteration, {"x": array + iteration}))
        got = other.receive(way, iteration).arrays["x"]
        np.testing.assert_array_equal(got, array + iteration)
        assert not is_armed and other.counters.damaged_reads == iteration + 1
    line.proxy.close()


def test_recorded_bytes_prove_nothing(line: Line) -> None:
    """Everything that net2 has ever sent is played to net1 again."""
    recorded: list[bytes] = []

    def change(way: str, passed: int, data: bytes) -> bytes | None:
        if way == "up":
            recorded.append(data)
        return data

    line.proxy.change = change
    lockstep(line.net1, line.net2, 0, 3)
    with socket.create_connection(("127.0.0.1", port_of(line.net1))) as stranger:
        stranger.sendall(b"".join(recorded))
        stranger.settimeout(20)
        try:
            while stranger.recv(1000):
                pass  # its greeting, then the end
        except ConnectionResetError:
            pass  # that is one, too
    lockstep(line.net1, line.net2, 3, 5)
    assert line.proxy.connections == 1, "nobody was disturbed"


def test_partition(play: Play) -> None:
    """Nobody gets through for a while; then all is well again."""
    line = Line(play, retain=0)
    lockstep(line.net1, line.net2, 0, 2)
    line.proxy.is_down = True
    line.proxy.cut()
    line.net1.send(batch(2))
    received: list[Message] = []
    waiting = threading.Thread(target=lambda: received.append(line.net2.receive("up", 2)))
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    line.proxy.is_down = False
    waiting.join(20)
    assert_same(batch(2), received[0])
    line.net2.send(answer(2))
    assert_same(answer(2), line.net1.receive("down", 2))
    line.proxy.close()


def test_a_connection_that_only_seems_open_is_given_up(play: Play) -> None:
    """The wire swallows everything: no error, no byte. The silence decides."""
    line = Line(play, retain=0, dead_after_s=1.0)
    lockstep(line.net1, line.net2, 0, 1)
    first = line.proxy.connections
    line.proxy.change = lambda way, passed, data: data if line.proxy.connections > first else b""
    lockstep(line.net1, line.net2, 1, 3)
    assert line.proxy.connections > first
    line.proxy.close()


# Strangers.


def was_turned_away(sock: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    sock.setblocking(False)
    try:
        return sock.recv(1000) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("kind", ["silent", "dripping", "greeting", "garbage", "closing"])
def test_a_neighbour_gets_in_past_strangers_that_come_again_and_again(
    play: Play, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """From its own address, more of them than there are places, and no deadline helps it."""
    monkeypatch.setattr(auth, "AUTH_DEADLINE_S", 60.0)
    net1 = play.open("net1")
    port, over = port_of(net1), threading.Event()
    greeting = b"DNTCP\x02\x01" + bytes(32)

    def crowd() -> None:
        held: list[socket.socket] = []
        while not over.is_set():
            try:
                held.append(socket.create_connection(("127.0.0.1", port), 5))
                if kind == "dripping":
                    for sock in held[-50:]:
                        sock.send(greeting[:1])
                elif kind != "silent":
                    held[-1].send({"greeting": greeting, "garbage": b"x" * 999}.get(kind, b""))
            except OSError:
                pass
            for sock in held[:] if kind == "closing" or len(held) >= 150 else []:
                if kind == "closing" or was_turned_away(sock):
                    held.remove(sock)
                    sock.close()
            over.wait(0.0005)
        for sock in held:
            sock.close()

    strangers = [threading.Thread(target=crowd) for _ in range(2)]
    for thread in strangers:
        thread.start()
    try:
        while net1._connector.reception is None or len(net1._connector.reception) < 20:
            if kind in ("garbage", "closing", "dripping"):
                break
            over.wait(0.005)
        net2 = play.open("net2")  # within QUICK's 20 s
        lockstep(net1, net2, 0, 5)
    finally:
        over.set()
        for thread in strangers:
            thread.join()


def test_strangers_do_not_disturb(play: Play) -> None:
    """Silent ones, loud ones, and more of both than are let in at a time."""
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 1)
    port = port_of(net1)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]

    def shout() -> None:
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: net1\r\n\r\n" * 3)
            except OSError:
                continue

    shouting = [threading.Thread(target=shout) for _ in range(2)]
    for thread in shouting:
        thread.start()
    lockstep(net1, net2, 1, 20)
    for thread in shouting:
        thread.join()
    lockstep(net1, net2, 20, 25)
    for sock in silent:
        sock.close()


def joined(folder: Path, settings: ExchangeSettings, config: str) -> TcpChannel:
    """A net2 in another folder that knows where net1 listens."""
    membership = Membership("net2", str(folder), settings, {"config": config})
    return TcpChannel(membership, LINK, settings)


def calling(play: Play, folder: Path, **settings: Any) -> TcpChannel:
    """A net2 in another folder, with a secret of its own, that calls net1."""
    port = port_of(play._opened[0])
    folder.mkdir(exist_ok=True)
    made = ExchangeSettings(**{**QUICK, "lock_dir": str(folder / "locks"), **settings})
    membership = Membership("net2", str(folder), made, {"config": "c"})
    return TcpChannel(membership, LINK, made, lambda: [Address("127.0.0.1", port)])


def test_another_secret_is_said_at_once_and_refused(
    play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net1 = play.open("net1")
    net2 = calling(play, tmp_path / "elsewhere")
    with pytest.raises(ManifestMismatch, match=r"127\.0\.0\.1:\d+ has another secret than .*copy"):
        net2.handshake({})
    net2.membership.close("stopped")
    assert [r.levelname for r in caplog.records if "has another secret" in r.getMessage()] == [
        "WARNING"
    ]
    # The one that listens is not ended by it: its own neighbour still comes.
    lockstep(net1, play.open("net2"), 0, 2)


def test_another_secret_ends_nobody_who_shares_a_folder_with_its_neighbour(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then somebody else sits at the address: the neighbour is waited for."""
    monkeypatch.setattr("dualnet.exchange.tcp.dial._SURE_S", 0.0)
    play.open("net1")
    (tmp_path / "elsewhere").mkdir()
    with playing("tcp", tmp_path / "elsewhere") as elsewhere:
        elsewhere.open("net1").membership.close("stopped")
        net2 = calling(play, elsewhere.run_dir, partner_timeout_s=1.0)
        with pytest.raises(NeighbourNeverCame, match="has another secret"):
            net2.handshake({})
        net2.membership.close("stopped")


def test_without_room_for_a_thread_a_caller_comes_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "dualnet-tcp-call" and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 2)
    assert len(refused) == 2


# Directories that are not shared.


def test_pieces_without_a_common_directory(play: Play, tmp_path: Path) -> None:
    """An address and a copy of the secret are enough; what differs in the runs is found."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    net1 = play.open("net1", address=address)
    there = tmp_path / "net2's node"
    for name in ("same", "other"):
        (there / name / "exchange").mkdir(parents=True, mode=0o700)
        shutil.copy(play.run_dir / "exchange/secret", there / name / "exchange/secret")
    settings = ExchangeSettings(
        **{**QUICK, "lock_dir": str(tmp_path / "locks3"), "address": address}
    )
    net2 = joined(there / "same", settings, "c")
    lockstep(net1, net2, 0, 3)
    net2.membership.close("stopped")
    stranger = joined(there / "other", settings, "d")
    with pytest.raises(ManifestMismatch, match="same configuration"):
        stranger.handshake({})
    stranger.membership.close("stopped")


def test_a_second_net2_elsewhere_is_refused(play: Play, tmp_path: Path) -> None:
    net1, net2 = play.pair()
    lockstep(net1, net2, 0, 1)
    (tmp_path / "there/exchange").mkdir(parents=True, mode=0o700)
    shutil.copy(play.run_dir / "exchange/secret", tmp_path / "there/exchange/secret")
    settings = ExchangeSettings(**{**QUICK, "lock_dir": str(tmp_path / "locks3")})
    membership = Membership("net2", str(tmp_path / "there"), settings, {"config": "c"})
    second = TcpChannel(membership, LINK, settings, lambda: [Address("127.0.0.1", port_of(net1))])
    with pytest.raises(Superseded, match="has taken over"):
        second.receive("up", 0)
    second.membership.close("stopped")
    lockstep(net1, net2, 1, 3)


@pytest.mark.parametrize("address", ["localhost", "host:0", ":80", "host:70000", "host:x"])
def test_what_is_no_address(play: Play, address: str) -> None:
    with pytest.raises(ConfigError, match="expected host:port"):
        play.open("net1", address=address)


def test_an_address_that_is_taken(play: Play) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageFailed, match="cannot listen at"):
            play.open("net1", address=address)


def test_memory_is_given_back(play: Play) -> None:
    """Without retention nothing is on disk, and what has arrived is forgotten."""
    net1, net2 = play.pair(retain=0)
    for iteration in range(30):
        lockstep(net1, net2, iteration, iteration + 1)
    net1.membership.close()
    assert net1._store.nbytes == 0
    assert not list((play.run_dir / "exchange/net1-net2").glob("*.npy"))
