"""The proof of two ends of a connection, before anything else, over a pair of sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from dualnet.exchange.tcp import auth
from dualnet.exchange.tcp.auth import WrongSecret, answer, ask
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
        try:
            outcome.append(answer(wire[0], secret, role))
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


def test_a_silent_caller(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "AUTH_DEADLINE_S", 0.2)
    assert "did not prove itself" in str(prove(wire, "net1", b"s" * 32)())


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
