"""Objects and messages over a process group of two."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any, Callable

import numpy as np
import torch

from dualnet.errors import UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.tcp.connection import (
    CONTROL_LIMIT,
    ConnectionLost,
    CorruptMessage,
    PeerClosing,
)
from dualnet.exchange.tcp.message import announced_layout, announcement, layout_digest

__all__ = ["GlooConnection"]

# The first tensor of each object: its length, and its beginning.
_FIRST_BYTES = 1024
_LENGTH_BYTES = 8
# Seconds allowed for delivering the last object on close.
_LEAVE_S = 3.0


class GlooConnection:
    """Objects and messages over a process group of two; see `Connection`.

    Args:
        group: of two ranks.
        rank: ours.
        hasher: makes digests.
        limit_bytes: the largest message to accept.
        verify: compare the digests of messages that are read.
        timeout_s: when nothing moves for so long, the connection is given up.
    """

    def __init__(
        self,
        group: Any,
        rank: int,
        hasher: Hasher,
        limit_bytes: int,
        verify: bool,
        timeout_s: float,
    ) -> None:
        self._group: Any = group
        self._timeout = timedelta(seconds=max(1.0, timeout_s))
        self._other = 1 - rank
        self._hasher = hasher
        self._limit_bytes = limit_bytes
        self._verify = verify
        self.is_idle: Callable[[], bool] = lambda: False
        self.on_received: Callable[[], None] = lambda: None
        self.began_s = 0.0
        # A gloo send completes only when the peer receives. Both sides start by sending, so a
        # blocking send would deadlock: sends are asynchronous and are awaited before the next one.
        self._under_way: tuple[Any, torch.Tensor] | None = None

    def write_control(self, fields: dict[str, Any]) -> None:
        """See `Connection.write_control`."""
        body = json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")
        if len(body) > CONTROL_LIMIT:
            raise UsageError(f"{fields.get('type')}: {len(body)} bytes, at most {CONTROL_LIMIT}")
        whole = bytearray(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
        rest = whole[_FIRST_BYTES:]
        first = whole[:_FIRST_BYTES].ljust(_FIRST_BYTES)
        for part in (first, rest):
            if part:
                self._send(torch.frombuffer(part, dtype=torch.uint8), is_awaited=False)

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """See `Connection.write_message`."""
        digest = layout_digest(message, layout, self._hasher)
        self.write_control({**announcement(seq, message, layout), "digest": digest})
        for array in layout.arrays:
            if array.nbytes:
                self._send(_tensor_of(message.arrays[array.name]))
        return digest

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """See `Connection.read`."""
        first = torch.empty(_FIRST_BYTES, dtype=torch.uint8)
        self._receive(first)
        self.began_s = time.monotonic()
        head = first.numpy().tobytes()
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if length > CONTROL_LIMIT:
            raise ConnectionLost(f"an object of {length} bytes")
        body = head[_LENGTH_BYTES : _LENGTH_BYTES + length]
        if len(body) < length:
            rest = torch.empty(length - len(body), dtype=torch.uint8)
            self._receive(rest)
            body += rest.numpy().tobytes()
        try:
            fields = json.loads(body.decode("ascii"))
            if fields["type"] == "bye":
                raise PeerClosing("closed by the other side")
            if fields["type"] != "message":
                return dict(fields)
            return self._read_message(fields)
        except (KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
            raise ConnectionLost(f"not an object of ours: {error}") from error

    def _read_message(self, fields: dict[str, Any]) -> tuple[int, Message, str]:
        layout = announced_layout(fields, self._limit_bytes)
        received = {array.name: np.empty(array.shape, array.dtype) for array in layout.arrays}
        for array in layout.arrays:
            if array.nbytes:
                self._receive(_tensor_of(received[array.name]))
        message = Message(layout.kind, int(fields["iteration"]), received)
        digest = str(fields["digest"])
        if self._verify and layout_digest(message, layout, self._hasher) != digest:
            what = f"{message.kind} {message.iteration}"
            raise CorruptMessage(f"{what}: a message has another digest than it states")
        return int(fields["seq"]), message, digest

    def _send(self, tensor: torch.Tensor, is_awaited: bool = True) -> None:
        group = self._open_group()
        try:
            self._await_sent()
            work = group.send([tensor], self._other, 0)
            self._under_way = (work, tensor)
            if is_awaited:
                self._await_sent()
        except RuntimeError as error:
            raise _broken(error) from error

    def _await_sent(self, timeout: timedelta | None = None) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way[0].wait(timeout or self._timeout)

    def _receive(self, tensor: torch.Tensor) -> None:
        group = self._open_group()
        try:
            group.recv([tensor], self._other, 0).wait(self._timeout)
        except RuntimeError as error:
            raise _broken(error) from error
        self.on_received()

    def _open_group(self) -> Any:
        if self._group is None:
            raise ConnectionLost("closed")
        return self._group

    def finish(self) -> bool:
        """See `Connection.finish`."""
        try:
            self.write_control({"type": "bye"})
            self._await_sent(timedelta(seconds=_LEAVE_S))
        except (ConnectionLost, RuntimeError):
            pass  # the other side has closed already
        return True

    def close(self) -> None:
        """No more is sent or received here; the sockets go with the last reference to the group."""
        self._group = self._under_way = None


def _broken(error: RuntimeError) -> ConnectionLost:
    """Gloo's error without the place in its source and its advice."""
    text = str(error).partition("] ")[2] or str(error)
    return ConnectionLost(text.split(". ")[0])


def _tensor_of(array: np.ndarray) -> torch.Tensor:
    """The memory of a C-contiguous array as a tensor of bytes."""
    flat = array.reshape(-1).view(np.uint8)
    return torch.from_numpy(flat if flat.flags.writeable else flat.copy())
