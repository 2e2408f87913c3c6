"""Dtypes and shapes of messages, announced before the first message that has them.

The reader takes memory only for what a layout states. A layout is a sealed record in a file of its
own, written once per kind, and again when the shapes of that kind change; the status record counts
them. Where batches or images change their size that is one for nearly every message; they are
deleted with the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dualnet.errors import UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.files.npy import ArrayLayout
from dualnet.exchange.link import Link
from dualnet.exchange.paths import check_kind

__all__ = ["LAYOUT_LIMIT", "LayoutBook", "MessageLayout", "seal_layout", "unseal_layout"]

LAYOUT_LIMIT = 1 << 16
MOST_ARRAYS = 255


@dataclass(frozen=True)
class MessageLayout:
    """The arrays of the messages of a kind, in order.

    Args:
        kind: of the messages.
        arrays: one layout per array.
    """

    kind: str
    arrays: tuple[ArrayLayout, ...]

    @classmethod
    def of(cls, message: Message) -> MessageLayout:
        """The layout of a message.

        Raises:
            UsageError: a name or an array that cannot travel.
        """
        check_kind(message.kind)
        if not 0 <= message.iteration < 10**12:
            raise UsageError(
                f"message {message.kind}: iteration {message.iteration} is not within 0 and 10^12"
            )
        if not 1 <= len(message.arrays) <= MOST_ARRAYS:
            raise UsageError(
                f"message {message.kind}: 1 to {MOST_ARRAYS} arrays allowed, got "
                f"{len(message.arrays)}"
            )
        for name, array in message.arrays.items():
            if not isinstance(array, np.ndarray):
                raise UsageError(
                    f"message {message.kind}, array {name!r}: expected a NumPy array, got "
                    f"{type(array).__name__}; use numpy.asarray"
                )
        return cls(
            message.kind,
            tuple(ArrayLayout.of(name, array) for name, array in message.arrays.items()),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of data of one message."""
        return sum(array.nbytes for array in self.arrays)


class LayoutBook:
    """The layouts of one writer and epoch, in the order in which they were published."""

    def __init__(self) -> None:
        #: Number, first message, layout.
        self._entries: list[tuple[int, int, MessageLayout]] = []
        self._current: dict[str, MessageLayout] = {}
        #: The number that the next one has, counted from 1.
        self.next_number = 1

    def is_current(self, layout: MessageLayout) -> bool:
        """Whether messages of this kind are announced to have this layout already."""
        return self._current.get(layout.kind) == layout

    def add(self, first_seq: int, layout: MessageLayout) -> None:
        """Note that from message `first_seq` on, a kind has this layout."""
        self._entries.append((self.next_number, first_seq, layout))
        self._current[layout.kind] = layout
        self.next_number += 1

    def find(self, seq: int, kind: str) -> MessageLayout | None:
        """The layout that message `seq` has if it is of `kind`, or None."""
        for _, first_seq, layout in reversed(self._entries):
            if first_seq <= seq and layout.kind == kind:
                return layout
        return None

    def forget_through(self, seq: int) -> list[int]:
        """Forget what no message after number `seq` needs.

        Returns:
            The numbers of what was forgotten.
        """
        kept, forgotten, covered = [], [], set()
        for entry in reversed(self._entries):
            number, first_seq, layout = entry
            if layout.kind in covered:
                forgotten.append(number)
                continue
            kept.append(entry)
            if first_seq <= seq + 1:
                covered.add(layout.kind)
        self._entries = kept[::-1]
        return forgotten


def seal_layout(
    key: bytes, link: Link, run: str, piece: str, epoch: int, seq: int, layout: MessageLayout
) -> bytes:
    """The bytes of a layout file.

    Args:
        seq: the first message that has this layout.

    Raises:
        UsageError: too many arrays for one record.
    """
    fields = {
        "run": run,
        "piece": piece,
        "epoch": epoch,
        "seq": seq,
        "kind": layout.kind,
        "arrays": [[array.name, array.dtype, list(array.shape)] for array in layout.arrays],
    }
    try:
        return seal(key, link.kind("layout"), fields, LAYOUT_LIMIT)
    except ValueError as error:
        raise UsageError(f"message {layout.kind}: {error}; send fewer arrays at once") from error


def unseal_layout(
    key: bytes, link: Link, run: str, piece: str, epoch: int, data: bytes
) -> tuple[int, MessageLayout]:
    """The first message number and the layout in a layout file.

    Raises:
        BadRecord: none of this run, link, piece and epoch.
    """
    fields: dict[str, Any] = unseal(key, link.kind("layout"), data, LAYOUT_LIMIT)
    try:
        if (fields["run"], fields["piece"], fields["epoch"]) != (run, piece, epoch):
            raise BadRecord("layout record: of another run, piece or epoch")
        arrays = tuple(
            ArrayLayout(name, dtype, tuple(shape)) for name, dtype, shape in fields["arrays"]
        )
        return int(fields["seq"]), MessageLayout(fields["kind"], arrays)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise BadRecord(f"layout record: {error}") from error
