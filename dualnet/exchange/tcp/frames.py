"""Frames on an authenticated connection: counted, bounded, each with a MAC.

A frame on the wire, little-endian:

    24  magic "DNF1", kind, three zero bytes, number of the frame, bytes of the body
    32  MAC of these 24 bytes: the length is trusted, and memory allocated, only after this check
     …  body
    32  digest of the body
    32  MAC of the 24 bytes and the digest

Each direction has a key of its own and numbers its frames 0, 1, 2, …; so a frame that is repeated,
left out, reflected or changed in one bit breaks the connection, and a new one has other keys.

A control frame's body is a JSON object. A message is a control frame that lists its arrays, then
one array frame for each: the raw memory, with the same digest as a file of the exchange has
(`dualnet.exchange.digest`), so that messages compare whatever has carried them.
"""

from __future__ import annotations

import hmac
import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from dualnet.errors import UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import LEAF_BYTES, Hasher
from dualnet.exchange.disk.records import MAC_BYTES, mac
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.npy import ArrayLayout
from dualnet.exchange.files.outbox import message_digest
from dualnet.exchange.tcp.connection import CONTROL_LIMIT, ConnectionLost, CorruptMessage
from dualnet.exchange.tcp.message import announced_layout, announcement, bytes_of

__all__ = ["Keys", "SocketConnection"]

#: Objects, the hello among them, always have the same digest, so that pieces with different
#: settings can still refuse each other by name.
_CONTROLS = Hasher(0)
_HEADER = struct.Struct("<4sBxxxQQ")
_MAGIC = b"DNF1"
_CONTROL, _ARRAY = 1, 2
_DIGEST_BYTES = 32
# A blocked read or write checks this often whether the connection is idle.
_TICK_S = 0.5
# MSG_MORE: the kernel may combine this with the next send.
_MORE = getattr(socket, "MSG_MORE", 0)


@dataclass(frozen=True)
class Keys:
    """One key for each direction, made in the handshake."""

    sending: bytes
    receiving: bytes


class _Wrong(ConnectionLost):
    """A frame fails a check."""


class SocketConnection:
    """Frames over one connected socket; see `Connection`.

    Args:
        sock: connected and authenticated.
        keys: of this connection.
        hasher: makes digests.
        limit_bytes: the largest message to accept.
        verify: compare the digests of arrays that are read.
    """

    def __init__(
        self, sock: socket.socket, keys: Keys, hasher: Hasher, limit_bytes: int, verify: bool = True
    ) -> None:
        self._sock = sock
        self._keys = keys
        self._hasher = hasher
        self._limit_bytes = limit_bytes
        self._verify = verify
        self._written = self._read = 0
        self.began_s = 0.0
        self.is_idle: Callable[[], bool] = lambda: False
        self.on_received: Callable[[], None] = lambda: None
        sock.settimeout(_TICK_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # no TCP below (a pair of sockets in a test)

    # Writing.

    def write_control(self, fields: dict[str, Any]) -> None:
        """See `Connection.write_control`."""
        try:
            body = json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise UsageError(f"{fields.get('type')}: {error}; send plain JSON") from error
        if len(body) > CONTROL_LIMIT:
            raise UsageError(
                f"{fields.get('type')}: {len(body)} bytes, at most {CONTROL_LIMIT} allowed"
            )
        header = self._next_header(_CONTROL, len(body))
        stream = _CONTROLS.stream(b"")
        stream.add(memoryview(body))
        self._send(memoryview(self._begin(header) + body + self._end(header, stream.digest())))

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """See `Connection.write_message`."""
        self.write_control(announcement(seq, message, layout))
        digests = [self._write_array(message.arrays[a.name], a) for a in layout.arrays]
        return message_digest(digests)

    def _write_array(self, array: np.ndarray, layout: ArrayLayout) -> bytes:
        header = self._next_header(_ARRAY, layout.nbytes)
        self._send(memoryview(self._begin(header)), _MORE)
        stream = self._hasher.stream(layout.header())
        data = bytes_of(array)
        for start in range(0, len(data), LEAF_BYTES):
            chunk = data[start : start + LEAF_BYTES]
            stream.add(chunk)
            self._send(chunk, _MORE)
        digest = stream.digest()
        self._send(memoryview(self._end(header, digest)))
        return digest

    def _next_header(self, kind: int, length: int) -> bytes:
        header = _HEADER.pack(_MAGIC, kind, self._written, length)
        self._written += 1
        return header

    def _begin(self, header: bytes) -> bytes:
        return header + mac(self._keys.sending, "head", header)

    def _end(self, header: bytes, digest: bytes) -> bytes:
        return digest + mac(self._keys.sending, "body", header + digest)

    def _send(self, data: memoryview, flags: int = 0) -> None:
        while len(data):
            try:
                data = data[self._sock.send(data, flags) :]
            except socket.timeout:
                self._check_idle()
            except OSError as error:
                raise ConnectionLost(f"cannot send: {error.strerror or error}") from error

    # Reading.

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """See `Connection.read`."""
        header, kind, length = self._read_header()
        self.began_s = time.monotonic()
        if kind != _CONTROL or length > CONTROL_LIMIT:
            raise ConnectionLost(
                f"a frame of kind {kind} and {length} bytes where an object was due"
            )
        body = bytearray(length)
        stream = _CONTROLS.stream(b"")
        self._receive(memoryview(body))
        stream.add(memoryview(body))
        self._check_end(header, stream.digest())
        try:
            fields = json.loads(body.decode("ascii"))
            if fields["type"] != "message":
                return dict(fields)
            return self._read_message(fields)
        except (KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
            raise ConnectionLost(f"not an object of ours: {error}") from error

    def _read_message(self, fields: dict[str, Any]) -> tuple[int, Message, str]:
        layout = announced_layout(fields, self._limit_bytes)
        arrays, digests = {}, []
        for array in layout.arrays:
            try:
                arrays[array.name], digest = self._read_array(array)
            except _Wrong as error:
                what = f"{layout.kind} {fields['iteration']}, {array.name}"
                raise CorruptMessage(f"{what}: {error}") from error
            digests.append(digest)
        message = Message(layout.kind, int(fields["iteration"]), arrays)
        return int(fields["seq"]), message, message_digest(digests)

    def _read_array(self, layout: ArrayLayout) -> tuple[np.ndarray, bytes]:
        header, kind, length = self._read_header()
        if kind != _ARRAY or length != layout.nbytes:
            raise ConnectionLost(
                f"{layout.name}: {length} bytes where {layout.nbytes} were announced"
            )
        array = np.empty(layout.shape, layout.dtype)
        stream = self._hasher.stream(layout.header())
        data = bytes_of(array)
        for start in range(0, len(data), LEAF_BYTES):
            chunk = data[start : start + LEAF_BYTES]
            self._receive(chunk)
            if self._verify:
                stream.add(chunk)
        return array, self._check_end(header, stream.digest() if self._verify else None)

    def _read_header(self) -> tuple[bytes, int, int]:
        head = bytearray(_HEADER.size + MAC_BYTES)
        self._receive(memoryview(head))
        header = bytes(head[: _HEADER.size])
        if not hmac.compare_digest(head[_HEADER.size :], mac(self._keys.receiving, "head", header)):
            raise _Wrong("a frame's header has a wrong MAC")
        magic, kind, number, length = _HEADER.unpack(header)
        if magic != _MAGIC or number != self._read:
            raise ConnectionLost(f"frame {number} where frame {self._read} was due")
        self._read += 1
        return header, kind, length

    def _check_end(self, header: bytes, digest: bytes | None) -> bytes:
        """Check a body; without `digest` believe the one that is stated. Returns it."""
        end = bytearray(_DIGEST_BYTES + MAC_BYTES)
        self._receive(memoryview(end))
        stated = bytes(end[:_DIGEST_BYTES])
        expected = mac(self._keys.receiving, "body", header + stated)
        if not hmac.compare_digest(end[_DIGEST_BYTES:], expected):
            raise _Wrong("a frame has a wrong MAC")
        if digest is not None and not hmac.compare_digest(digest, stated):
            raise _Wrong("a frame's body has another digest than it states")
        return stated

    def _receive(self, buffer: memoryview) -> None:
        while len(buffer):
            try:
                count = self._sock.recv_into(buffer)
            except socket.timeout:
                self._check_idle()
                continue
            except OSError as error:
                raise ConnectionLost(f"cannot receive: {error.strerror or error}") from error
            if count == 0:
                raise ConnectionLost("closed by the other side")
            self.on_received()
            buffer = buffer[count:]

    def _check_idle(self) -> None:
        if self.is_idle():
            raise ConnectionLost("nothing has been received for too long")

    # The end.

    def finish(self) -> bool:
        """See `Connection.finish`."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False  # closed already
        return True

    def close(self) -> None:
        """See `Connection.close`."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already
        self._sock.close()
