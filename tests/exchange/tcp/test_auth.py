"""The proof of two ends of a connection, before anything else, over a pair of sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from dualnet.exchange.tcp import auth
from dualnet.exchange.tcp.auth import Answer, WrongSecret, ask
from dualnet.exchange.tcp.connection import Broken


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def prove(wire: Any, role: str, secret: bytes) -> Callable[[], Any]:
    """Answer as `role` in a thread; the function returned gives its keys or its error."""
    outcome: list[Any] = []

    def run() -> None:
        answer = Answer(secret, role)
        try:
            while answer.keys is None:
                data = wire[0].recv(answer.wanted)
                if not data:
                    raise Broken("closed by the other side")
                wire[0].sendall(answer.take(data))
            outcome.append(answer.keys)
        except Broken as error:
            wire[0].close()
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(20)
        return outcome[0]

    return result


def test_both_get_the_same_keys_crosswise(wire: Any) -> None:
    result = prove(wire, "net1", b"s" * 32)
    ours = ask(wire[1], b"s" * 32, "net2")
    theirs = result()
    assert (ours.sending, ours.receiving) == (theirs.receiving, theirs.sending)
    assert ours.sending != ours.receiving


def test_other_secrets_and_roles(wire: Any) -> None:
    result = prove(wire, "net1", b"s" * 32)
    with pytest.raises(WrongSecret):
        ask(wire[1], b"t" * 32, "net2")
    wire[1].close()
    assert isinstance(result(), Broken)


def test_the_same_role_twice(wire: Any) -> None:
    result = prove(wire, "net1", b"s" * 32)
    with pytest.raises(Broken):
        ask(wire[1], b"s" * 32, "net1")
    assert "not net2" in str(result())


@pytest.mark.parametrize("size", [1, 2, 38])
def test_a_proof_in_pieces(size: int) -> None:
    """However the bytes come, and with what comes after the proof left alone."""
    answer, secret = Answer(b"s" * 32, "net1"), b"s" * 32
    one, two = socket.socketpair()
    with one, two:
        done: list[Any] = []
        caller = threading.Thread(target=lambda: done.append(ask(two, secret, "net2")))
        caller.start()
        while answer.keys is None:
            one.sendall(answer.take(one.recv(min(size, answer.wanted))))
        caller.join(20)
    assert done[0].sending == answer.keys.receiving


def test_garbage_is_known_by_its_first_bytes() -> None:
    assert Answer(b"s" * 32, "net1").take(b"D") == b""
    with pytest.raises(Broken, match="no half of a run"):
        Answer(b"s" * 32, "net1").take(b"G")


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
    with pytest.raises(Broken):
        ask(wire[1], b"s" * 32, "net2")
