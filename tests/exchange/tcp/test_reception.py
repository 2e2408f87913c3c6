"""Callers that have not proved themselves: how many there are, who goes first, and how long."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from dualnet.exchange.link import Link
from dualnet.exchange.tcp import auth, reception
from dualnet.exchange.tcp.auth import authenticate_client
from dualnet.exchange.tcp.connection import ConnectionLost
from dualnet.exchange.tcp.reception import Reception

SECRET = b"s" * 32
LINK = Link("net1", "net2")


class Door:
    """A reception at a free port, and callers from any address of 127.0.0.0/8."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 8) -> None:
        monkeypatch.setattr(reception, "MOST_STRANGERS", most)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.troubles: list[str] = []
        self.open = Reception(
            self.listening, SECRET, LINK, "lower", lambda error: self.troubles.append(str(error))
        )
        self.callers: list[socket.socket] = []

    def call(self, host: str = "127.0.0.1") -> socket.socket:
        """Call, and be taken in."""
        sock = socket.create_connection(self.listening.getsockname(), 5, source_address=(host, 0))
        self.callers.append(sock)
        assert self.open.poll(5) == []
        return sock

    def close(self) -> None:
        self.open.close()
        for sock in [self.listening, *self.callers]:
            sock.close()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door(monkeypatch)
    yield made
    made.close()


def is_here(sock: socket.socket) -> bool:
    """Whether a caller has not been sent away."""
    sock.settimeout(0.05)
    try:
        return sock.recv(1) != b""
    except socket.timeout:
        return True
    except OSError:
        return False


def let_in(door: Door, host: str = "127.0.0.1") -> bool:
    """Call as net2 does; whether one gets in."""
    proved: list[bool] = []

    def call() -> None:
        with socket.create_connection(
            door.listening.getsockname(), 5, source_address=(host, 0)
        ) as sock:
            try:
                authenticate_client(sock, SECRET, LINK, "upper")
                proved.append(True)
            except ConnectionLost:
                proved.append(False)

    thread = threading.Thread(target=call)
    thread.start()
    found = []
    while thread.is_alive() or not proved:
        found += door.open.poll(0.01)
    thread.join()
    for _ in range(3):
        found += door.open.poll(0.01)
    for sock, _ in found:
        sock.close()
    return proved == [True] and len(found) == 1


def test_the_neighbour_gets_in_and_takes_no_place(door: Door) -> None:
    assert let_in(door)
    assert len(door.open) == 0 and door.troubles == []


def test_a_full_place_takes_the_next_one_in_for_the_first(door: Door) -> None:
    first, *rest = [door.call() for _ in range(8)]
    assert len(door.open) == 8
    door.call()
    assert len(door.open) == 8
    assert not is_here(first) and all(map(is_here, rest))
    assert let_in(door)


def test_a_crowd_at_one_address_drives_out_its_own(door: Door) -> None:
    lone = door.call("127.0.0.2")
    for _ in range(40):
        door.call("127.0.0.3")
    assert len(door.open) == 8 and is_here(lone)
    assert let_in(door, "127.0.0.4")


def test_the_slow_go_in_time_however_they_drip(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(reception, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    dripping, silent = door.call(), door.call()
    for byte in b"DNTCP":
        dripping.send(bytes([byte]))
        now_s[0] += auth.AUTH_DEADLINE_S / 6
        assert door.open.poll(5) == [] and len(door.open) == 2
    now_s[0] += auth.AUTH_DEADLINE_S / 5
    door.open.poll(0)
    assert len(door.open) == 0 and not is_here(silent)
    assert door.troubles == [f"did not prove itself within {auth.AUTH_DEADLINE_S:g} s"] * 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no piece of a run"),
        (b"DNTCP\x09\x01" + bytes(32), "speaks version 9 of the protocol"),
        (b"DNTCP\x02\x00" + bytes(32), "not the upper end of link net1-net2"),
        (b"DNTCP\x02\x01" + bytes(64), "a caller does not know this run's secret"),
        (b"", "closed by the other side"),
    ],
)
def test_strangers_are_sent_away_as_soon_as_they_are_known(
    door: Door, said: bytes, why: str
) -> None:
    stranger = door.call()
    if said:
        stranger.sendall(said)
    else:
        stranger.close()
    while len(door.open):
        assert door.open.poll(5) == []
    assert len(door.troubles) == 1 and why in door.troubles[0]


def test_without_descriptors_a_stranger_gives_its_own(door: Door) -> None:
    class Scarce:
        """As the socket, but there is no descriptor left."""

        refusals = 1

        def accept(self) -> tuple[socket.socket, tuple[str, int]]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return listening.accept()

    first, second = door.call(), door.call()
    listening, door.open._sock = door.open._sock, Scarce()  # type: ignore[assignment]
    with socket.create_connection(listening.getsockname(), 5):
        door.open._take_calls()
    door.open._sock = listening
    assert not is_here(first) and is_here(second)
    assert len(door.open) == 2
