"""A message on a connection: the object that announces its arrays, and its digest."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.errors import DamagedMessage
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import LEAF_BYTES, Hasher
from dualnet.exchange.files.layout import MOST_ARRAYS, MessageLayout
from dualnet.exchange.files.npy import ArrayLayout
from dualnet.exchange.files.outbox import message_digest

__all__ = ["announced_layout", "announcement", "bytes_of", "layout_digest"]


def announcement(seq: int, message: Message, layout: MessageLayout) -> dict[str, Any]:
    """The object that is sent before the arrays of message `seq`."""
    return {
        "type": "message",
        "seq": seq,
        "kind": message.kind,
        "iteration": message.iteration,
        "arrays": [[a.name, a.dtype, list(a.shape)] for a in layout.arrays],
    }


def bytes_of(array: np.ndarray) -> memoryview:
    """The memory of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def layout_digest(message: Message, layout: MessageLayout, hasher: Hasher) -> str:
    """The digest of a message, C-contiguous arrays, in hex."""
    digests = []
    for array in layout.arrays:
        stream = hasher.stream(array.header())
        data = bytes_of(message.arrays[array.name])
        for start in range(0, len(data), LEAF_BYTES):
            stream.add(data[start : start + LEAF_BYTES])
        digests.append(stream.digest())
    return message_digest(digests)


def announced_layout(fields: dict[str, Any], limit_bytes: int) -> MessageLayout:
    """The layout of the message that a control object announces, before memory is taken for it.

    Raises:
        DamagedMessage: it is larger than we accept, which no new connection would change.
        KeyError, TypeError, ValueError, UsageError: the object is none of ours.
    """
    arrays = tuple(ArrayLayout(n, d, tuple(s)) for n, d, s in fields["arrays"])
    layout = MessageLayout(str(fields["kind"]), arrays)
    if layout.nbytes > limit_bytes:
        raise DamagedMessage(
            f"the neighbour announces {layout.nbytes} bytes for {layout.kind} "
            f"{fields['iteration']}, exchange.max_message_bytes is {limit_bytes}; raise "
            f"it for all pieces"
        )
    if not 1 <= len(arrays) <= MOST_ARRAYS:
        raise ValueError(f"{len(arrays)} arrays")
    return layout
