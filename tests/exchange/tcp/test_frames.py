"""Frames over a pair of sockets."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dualnet.errors import DamagedMessage, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.tcp.connection import CONTROL_LIMIT, ConnectionLost
from dualnet.exchange.tcp.frames import Keys, SocketConnection
from dualnet.exchange.tcp.message import layout_digest

ONE, TWO = Keys(b"a" * 32, b"b" * 32), Keys(b"b" * 32, b"a" * 32)
HASHER = Hasher(0)


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def ends(wire: tuple[socket.socket, socket.socket], limit: int = 1 << 20) -> Any:
    """Writer and reader."""
    return SocketConnection(wire[0], ONE, HASHER, limit), SocketConnection(
        wire[1], TWO, HASHER, limit
    )


def message() -> Message:
    """Two arrays, one of them empty."""
    arrays = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "none": np.zeros((0, 2))}
    return Message("up", 3, arrays)


def test_objects_and_messages(wire: Any) -> None:
    writer, reader = ends(wire)
    writer.write_control({"type": "claim", "seq": 7})
    digest = writer.write_message(5, message(), MessageLayout.of(message()))
    assert reader.read() == {"type": "claim", "seq": 7}
    seq, got, stated = reader.read()
    assert (seq, got.kind, got.iteration) == (5, "up", 3)
    for name, array in message().arrays.items():
        np.testing.assert_array_equal(got.arrays[name], array)
    assert stated == digest == layout_digest(message(), MessageLayout.of(message()), HASHER)


def recorded(count: int = 1) -> bytes:
    """The bytes of some messages."""
    one, two = socket.socketpair()
    with one, two:
        writer = SocketConnection(one, ONE, HASHER, 1 << 20)
        for seq in range(count):
            writer.write_message(seq, message(), MessageLayout.of(message()))
        one.shutdown(socket.SHUT_WR)
        data = b""
        two.settimeout(10)
        while True:
            part = two.recv(1 << 16)
            if not part:
                return data
            data += part


def fate(wire: Any, data: bytes) -> str:
    """What a reader makes of bytes."""
    wire[0].sendall(data)
    wire[0].shutdown(socket.SHUT_WR)
    reader = SocketConnection(wire[1], TWO, HASHER, 1 << 20)
    with pytest.raises(ConnectionLost) as caught:
        while True:
            reader.read()
    return str(caught.value)


def test_each_flipped_bit_is_found() -> None:
    """In every byte of a message, headers, bodies and MACs alike."""
    whole = recorded()
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        one, two = socket.socketpair()
        with one, two:
            one.sendall(changed)
            one.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionLost):
                SocketConnection(two, TWO, HASHER, 1 << 20).read()


def test_repeated_left_out_and_cut(wire: Any) -> None:
    assert "frame 0 where frame 3 was due" in fate(wire, recorded() * 2)


def test_a_frame_that_is_left_out(wire: Any) -> None:
    both, first = recorded(2), recorded(1)
    assert "where frame 0 was due" in fate(wire, both[len(first) :])


def test_cut_off(wire: Any) -> None:
    assert "closed by the other side" in fate(wire, recorded()[:-1])


def test_reflected(wire: Any) -> None:
    """What one side has written is not what it would accept."""
    writer, _ = ends(wire)
    writer.write_control({"type": "x"})
    echo = wire[1].recv(1 << 16)
    wire[1].sendall(echo)
    with pytest.raises(ConnectionLost, match="wrong MAC"):
        writer.read()


def test_a_huge_message_takes_no_memory(wire: Any) -> None:
    """Announced with the right keys, but more than we accept."""
    writer, reader = ends(wire)
    arrays = [["x", "<f4", [1 << 30, 1 << 30]]]
    writer.write_control(
        {"type": "message", "seq": 1, "kind": "up", "iteration": 0, "arrays": arrays}
    )
    tracemalloc.start()
    with pytest.raises(DamagedMessage, match="max_message_bytes"):
        reader.read()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "message"},
        {"type": "message", "seq": 1, "kind": "up", "iteration": 0, "arrays": [["x", "|O", [1]]]},
        {"type": "message", "seq": 1, "kind": "up", "iteration": 0, "arrays": []},
        {"type": "message", "seq": 1, "kind": "up", "iteration": 0, "arrays": [[1, 2, 3]]},
        {"no": "type"},
    ],
)
def test_what_is_no_object_of_ours(wire: Any, fields: dict[str, Any]) -> None:
    writer, reader = ends(wire)
    writer.write_control(fields)
    with pytest.raises(ConnectionLost, match="not an object of ours"):
        reader.read()


def test_what_cannot_be_said(wire: Any) -> None:
    writer, _ = ends(wire)
    with pytest.raises(UsageError, match="at most"):
        writer.write_control({"type": "x", "text": "x" * CONTROL_LIMIT})
    with pytest.raises(UsageError, match="plain JSON"):
        writer.write_control({"type": "x", "array": np.ones(2)})
