"""A connection between two pieces, as the wire needs it: what it carries, and how it ends."""

from __future__ import annotations

from typing import Any, Callable, Protocol

from dualnet.exchange.channel import Message
from dualnet.exchange.files.layout import MessageLayout

__all__ = ["CONTROL_LIMIT", "ConnectionLost", "Connection", "PeerClosing", "CorruptMessage"]

#: Longest JSON of an object, bytes.
CONTROL_LIMIT = 1 << 17


class ConnectionLost(Exception):
    """The connection failed: reconnect."""


class CorruptMessage(ConnectionLost):
    """A received message failed its digest or MAC; reconnecting gets another copy."""


class PeerClosing(ConnectionLost):
    """The peer is closing and waits until we have read everything."""


class Connection(Protocol):
    """Carries objects and messages. One thread writes and one reads at a time.

    Attributes:
        is_idle: asked when nothing has moved for a while; if true, the connection is given up.
        on_received: called whenever bytes have arrived.
        began_s: when the last object or message began to come.
    """

    is_idle: Callable[[], bool]
    on_received: Callable[[], None]
    began_s: float

    def write_control(self, fields: dict[str, Any]) -> None:
        """Send an object.

        Raises:
            ConnectionLost: the connection is gone.
            UsageError: it is too long, or no JSON.
        """

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """Send a message with C-contiguous arrays; returns its digest in hex.

        Raises:
            ConnectionLost: the connection is gone.
        """

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """The next object, or the next message with its number and digest.

        Raises:
            ConnectionLost: the connection is gone, or what came is no object or message of ours.
            CorruptMessage: a message fails a check.
            DamagedMessage: it is larger than we accept.
        """

    def finish(self) -> bool:
        """Close the write side; data already written is still delivered.

        Returns:
            True if the caller should wait for the peer to read it.
        """

    def close(self) -> None:
        """Close it; a thread that reads or writes gets ConnectionLost."""
