"""What a training loop sends over a link, beside the blobs that the rules name."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dualnet.exchange.channel import Message

__all__ = ["Blobs", "CONVERGED", "MessageChannel", "RESIDUAL"]

#: Beside an answer: training ends after this iteration, (1,) int64.
CONVERGED = "converged"
#: Beside a batch: the largest |x - z| / |x| of the pieces below, (1,) float32.
RESIDUAL = "residual"

Blobs = dict[str, np.ndarray]


class MessageChannel(Protocol):
    """What a loop needs of a link's end."""

    def send(self, message: Message) -> None:
        """Hand a message to the neighbour; its arrays may be reused when this returns."""

    def receive(self, kind: str, iteration: int) -> Message:
        """Wait for the neighbour's next message, which has to be this one."""
