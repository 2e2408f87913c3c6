"""What goes out is what was sent, whoever writes it and whatever becomes of the arrays."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

import numpy as np
import pytest

from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.link import Link
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.tcp.dial import Listener
from dualnet.exchange.tcp.neighbour import PeerStatus
from dualnet.exchange.tcp.sender import ConnectionState, Sender
from dualnet.exchange.tcp.store import Store


class Wire:
    """A connection that keeps the arrays as they are: a test reads them later."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.controls: list[dict[str, Any]] = []

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        self.messages.append(message)
        return ""

    def write_control(self, fields: dict[str, Any]) -> None:
        self.controls.append(fields)


@pytest.fixture
def blob() -> np.ndarray:
    """What a net writes over in its next forward pass."""
    return np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def store(blob: np.ndarray) -> Store:
    """One message is held, which the disk does not have yet."""
    made = Store(lambda seq: None)
    made.hold(1, Message("test00000", 0, {"pool2": blob}))
    return made


def sender_of(store: Store, wire: Wire) -> Sender:
    """A piece that has sent message 1 when the neighbour reports that it has none."""
    sender = Sender(PeerStatus(sent=1), store, Hasher(0), 5.0, lambda: Pulse("", "net1", 1))
    sender.base = 0
    sender.flow = ConnectionState(wire, there=0)  # type: ignore[arg-type]
    return sender


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_a_message_that_the_beating_thread_sends_is_not_written_over(
    store: Store, blob: np.ndarray, is_on_disk: bool
) -> None:
    wire = Wire()
    # The neighbour has connected while the training thread sent: the sender thread sends, and while
    # it does the training goes on.
    sender_of(store, wire).beat()
    store.settle(1, is_on_disk)
    blob[...] = -1.0
    np.testing.assert_array_equal(wire.messages[0].arrays["pool2"], [[0, 1, 2], [3, 4, 5]])


def test_the_trainings_own_thread_sends_without_a_copy(store: Store, blob: np.ndarray) -> None:
    wire = Wire()
    sender_of(store, wire).push()
    assert wire.messages[0].arrays["pool2"] is blob


def test_what_is_claimed_is_digested_from_a_copy(store: Store, blob: np.ndarray) -> None:
    loaded = store.load(1)
    assert loaded is not None and loaded[0].arrays["pool2"] is not blob
    blob[...] = 0.0
    assert loaded[0].arrays["pool2"][1, 2] == 5.0


def test_a_process_that_may_open_no_more_files_does_not_listen_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("selectors.DefaultSelector", refuse)
    sock = socket.create_server(("127.0.0.1", 0))
    with sock, pytest.raises(OSError, match="Too many open files"):
        Listener(Link("net1", "net2"), "net1", b"secret" * 6, lambda sock, keys: None, sock)


def test_one_status_acknowledges_what_has_arrived_in_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualnet.exchange.tcp.sender._ACKNOWLEDGE_S", 0.01)
    wire = Wire()
    sender = sender_of(store, wire)
    written = threading.Event()
    monkeypatch.setattr(sender, "beat", written.set)
    sender.start()
    assert not written.wait(0.1), "nothing has arrived, and the next beat is 5 s away"
    sender.acknowledge()
    sender.acknowledge()
    assert written.wait(10.0)
    sender.stop(10.0)
