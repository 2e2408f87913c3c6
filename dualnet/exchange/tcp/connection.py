"""A connection between two halves, as the wire needs it: what it carries, and how it ends."""

from __future__ import annotations

from typing import Any, Callable, Protocol

from dualnet.exchange.channel import Message
from dualnet.exchange.files.layout import MessageLayout

__all__ = ["CONTROL_LIMIT", "Broken", "Connection", "Left", "Spoiled"]

#: Longest JSON of an object, bytes.
CONTROL_LIMIT = 1 << 17


class Broken(Exception):
    """The connection is of no use any more; says why."""


class Spoiled(Broken):
    """A message that has come fails a check; another copy of it may pass."""


class Left(Broken):
    """The other side has said that it leaves, and waits to hear that we have read it."""


class Connection(Protocol):
    """Carries objects and messages. One thread writes and one reads at a time.

    Attributes:
        is_idle: asked when nothing has moved for a while; if true, the connection is given up.
        on_heard: called whenever bytes have arrived.
        began_s: when the last object or message began to come.
    """

    is_idle: Callable[[], bool]
    on_heard: Callable[[], None]
    began_s: float

    def write_control(self, fields: dict[str, Any]) -> None:
        """Send an object.

        Raises:
            Broken: the connection is gone.
            UsageError: it is too long, or no JSON.
        """

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """Send a message with C-contiguous arrays; returns its digest in hex.

        Raises:
            Broken: the connection is gone.
        """

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """The next object, or the next message with its number and digest.

        Raises:
            Broken: the connection is gone, or what came is not what the partner would send.
            Spoiled: a message fails a check.
            DamagedMessage: it is larger than we accept.
        """

    def finish(self) -> bool:
        """Nothing more will be written; what was written still arrives.

        Returns:
            Whether the other side has yet to take it.
        """

    def close(self) -> None:
        """Break it off; a thread that reads or writes finds it broken."""
