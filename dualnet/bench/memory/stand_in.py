"""A partner that is not there: one half trains alone, on messages of the right shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.exchange.channel import PARTNER, Channel, Counters, Message
from dualnet.train.net.nets import Half

__all__ = ["Fabricated"]

#: What the arrays hold; not zero, for memory that nobody writes is not in memory.
_VALUE = 0.01


class Fabricated(Channel):
    """Answers every `receive` at once, and keeps a copy of the last message as carriers do.

    Args:
        half: The half that is driven; its blobs give the shapes.
    """

    def __init__(self, half: Half) -> None:
        self.role, self.partner = half.role, PARTNER[half.role]
        self.counters = Counters()
        self._half = half
        self._last: list[np.ndarray] = []

    def receive(self, stage: str, iteration: int) -> Message:
        """The arrays that the real partner would send at this point."""
        config, compared = self._half.config, self._half.resolved.compared
        if stage == "tie":
            arrays = self._weights()
        elif stage.split("-")[0] == "up":
            arrays = self._full([*config.cut.blobs, *config.cut.labels])
            arrays.update({label: np.zeros_like(arrays[label]) for label in config.cut.labels})
        elif config.coupling.target in ("backprop", "frozen"):
            is_frozen = config.coupling.target == "frozen"
            arrays = {} if is_frozen else self._full(config.cut.blobs)
            arrays["loss"] = np.ones(1, np.float32)
        elif config.coupling.target in ("prox", "admm"):
            # What is compared goes up in these, so reading it changes nothing; any other point
            # would drive multipliers and loss beyond all bounds.
            net = self._half.train
            arrays = {wire: np.array(net.data(blob)) for wire, blob in compared.items()}
        else:
            arrays = {wire: self._array(blob) for wire, blob in compared.items()}
        message = Message(stage, iteration, arrays)
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
        shape = tuple(int(size) for size in self._half.train.net.blobs[blob].shape)
        return np.full(shape, _VALUE, np.float32)

    def _weights(self) -> dict[str, np.ndarray]:
        """Those of the dual layers as they are, under net1's names."""
        dual = self._half.config.cut.dual
        if self.role == "net1":
            own = self._half.train.parameters(list(dual))
            return {name: np.array(values) for name, values in own.items()}
        return {
            f"{layer}{name[len(copy) :]}": np.array(values)
            for layer, copy in dual.items()
            for name, values in self._half.train.parameters([copy]).items()
        }

    # What needs a partner that is there.

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

    def close(self, state: str = "done", wait: bool = True) -> None:
        """Nobody to tell."""
