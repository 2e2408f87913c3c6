"""A channel without a neighbour, so that one piece can be measured alone.

What it receives are constant arrays of the right shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.config import CutEnd
from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.link import Link
from dualnet.training.net.nets import Nets

__all__ = ["FakeChannel"]

#: What the arrays hold; not zero, because the system provides zeros without using memory.
_VALUE = 0.01


class FakeChannel(Channel):
    """Answers every `receive` at once with made-up arrays; keeps the last message as carriers do.

    Args:
        nets: Of the piece that is driven; their blobs give the shapes.
        end: Its end of the cut whose other piece this stands for.
    """

    def __init__(self, nets: Nets, end: CutEnd) -> None:
        self.link = Link(end.lower, end.upper)
        self.piece, self.neighbour = end.piece, end.neighbour
        ends = (end.piece, end.neighbour)
        self.link = Link(*ends) if end.is_lower else Link(*reversed(ends))
        self.counters = Counters()
        self._nets, self._end = nets, end
        self._last: list[np.ndarray] = []

    def receive(self, kind: str, iteration: int) -> Message:
        """The arrays that the real neighbour would send at this point."""
        cut, rule, resolved = self._end.cut, self._end.coupling.rule, self._nets.resolved
        compared = resolved.compared_above if self._end.is_lower else resolved.compared_below
        if kind == "tie":
            arrays = self._weights()
        elif kind.split("-")[0] == "up":
            arrays = self._full([*cut.blobs, *cut.labels])
            arrays.update({label: np.zeros_like(arrays[label]) for label in cut.labels})
        elif rule.sends_loss:
            arrays = self._full(cut.blobs) if rule.sends_gradients else {}
            arrays["loss"] = np.ones(1, np.float32)
        elif rule.asks_at_points:
            # What is compared goes up in these, so reading it changes nothing; any other point
            # would drive multipliers and loss beyond all bounds.
            net = self._nets.train
            arrays = {name: np.array(net.data(blob)) for name, blob in compared.items()}
        else:
            arrays = {name: self._array(blob) for name, blob in compared.items()}
        message = Message(kind, iteration, arrays)
        self.counters.messages_received += 1
        self.counters.bytes_received += message.nbytes
        return message

    def send(self, message: Message) -> None:
        """Copy it: a carrier keeps the last message in case it has to be sent again."""
        self._last = [np.array(values) for values in message.arrays.values()]
        self.counters.messages_sent += 1
        self.counters.bytes_sent += message.nbytes

    def _full(self, blobs: list[str]) -> dict[str, np.ndarray]:
        return {blob: self._array(blob) for blob in blobs}

    def _array(self, blob: str) -> np.ndarray:
        shape = tuple(int(size) for size in self._nets.train.net.blobs[blob].shape)
        return np.full(shape, _VALUE, np.float32)

    def _weights(self) -> dict[str, np.ndarray]:
        """Those of the dual layers as they are, under the lower piece's names."""
        dual = self._end.cut.dual
        if self._end.is_lower:
            own = self._nets.train.parameters(list(dual))
            return {name: np.array(values) for name, values in own.items()}
        return {
            f"{layer}{name[len(copy) :]}": np.array(values)
            for layer, copy in dual.items()
            for name, values in self._nets.train.parameters([copy]).items()
        }

    # What needs a neighbour that is there.

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """Its own description: everything matches."""
        return hello

    def resume(self, seq_sent: int, seq_received: int) -> None:
        """Nothing to resume."""

    def checkpoint_passed(self, iteration: int) -> None:
        """Nothing is kept."""

    @property
    def seq_sent(self) -> int:
        """Messages sent."""
        return self.counters.messages_sent

    @property
    def seq_received(self) -> int:
        """Messages received."""
        return self.counters.messages_received
