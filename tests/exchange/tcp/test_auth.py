"""The proof of two ends of a connection, before anything else, over a pair of sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from dualnet.exchange.link import Link
from dualnet.exchange.tcp import auth
from dualnet.exchange.tcp.auth import ServerProof, WrongSecret, authenticate_client
from dualnet.exchange.tcp.connection import ConnectionLost

LINK = Link("net1", "net2")


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def prove(wire: Any, end: str, secret: bytes) -> Callable[[], Any]:
    """Prove ourselves as `end` in a thread; the function returned gives its keys or its error."""
    outcome: list[Any] = []

    def run() -> None:
        answer = ServerProof(secret, LINK, end)
        try:
            while answer.keys is None:
                data = wire[0].recv(answer.wanted)
                if not data:
                    raise ConnectionLost("closed by the other side")
                wire[0].sendall(answer.take(data))
            outcome.append(answer.keys)
        except ConnectionLost as error:
            wire[0].close()
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(20)
        return outcome[0]

    return result


def test_both_get_the_same_keys_crosswise(wire: Any) -> None:
    result = prove(wire, "lower", b"s" * 32)
    ours = authenticate_client(wire[1], b"s" * 32, LINK, "upper")
    theirs = result()
    assert (ours.sending, ours.receiving) == (theirs.receiving, theirs.sending)
    assert ours.sending != ours.receiving


def test_another_secret(wire: Any) -> None:
    result = prove(wire, "lower", b"s" * 32)
    with pytest.raises(WrongSecret):
        authenticate_client(wire[1], b"t" * 32, LINK, "upper")
    wire[1].close()
    assert isinstance(result(), ConnectionLost)


def test_the_same_end_twice(wire: Any) -> None:
    result = prove(wire, "lower", b"s" * 32)
    with pytest.raises(ConnectionLost):
        authenticate_client(wire[1], b"s" * 32, LINK, "lower")
    assert "not the upper end of link net1-net2" in str(result())


def test_another_link(wire: Any) -> None:
    """net3 calls where net1 listens: a port that another process had before."""
    result = prove(wire, "lower", b"s" * 32)
    with pytest.raises(ConnectionLost):
        authenticate_client(wire[1], b"s" * 32, Link("net2", "net3"), "upper")
    assert "not the upper end of link net1-net2" in str(result())


@pytest.mark.parametrize("size", [1, 2, 40])
def test_a_proof_in_pieces(size: int) -> None:
    """However the bytes come, and with what comes after the proof left alone."""
    answer, secret = ServerProof(b"s" * 32, LINK, "lower"), b"s" * 32
    one, two = socket.socketpair()
    with one, two:
        done: list[Any] = []
        caller = threading.Thread(
            target=lambda: done.append(authenticate_client(two, secret, LINK, "upper"))
        )
        caller.start()
        while answer.keys is None:
            one.sendall(answer.take(one.recv(min(size, answer.wanted))))
        caller.join(20)
    assert done[0].sending == answer.keys.receiving


def test_garbage_is_known_by_its_first_bytes() -> None:
    assert ServerProof(b"s" * 32, LINK, "lower").take(b"D") == b""
    with pytest.raises(ConnectionLost, match="no piece of a run"):
        ServerProof(b"s" * 32, LINK, "lower").take(b"G")


def test_an_echo_is_no_proof(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger sends our own greeting and proof back to us."""
    monkeypatch.setattr(auth, "AUTH_DEADLINE_S", 0.5)

    def echo() -> None:
        try:
            while True:
                data = wire[0].recv(1000)
                if not data:
                    return
                wire[0].sendall(data)
        except OSError:
            return

    threading.Thread(target=echo, daemon=True).start()
    with pytest.raises(ConnectionLost):
        authenticate_client(wire[1], b"s" * 32, LINK, "upper")
