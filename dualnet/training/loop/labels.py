"""How the last piece learns, which has the labels' loss: the single net, or the top of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np

from dualnet.training.loop.messages import Blobs
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.session import Session
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["LabelStep"]


class LabelStep:
    """Learns from the loss that its own net computes; see `above.Learning`.

    Args:
        nets: The piece's nets.
        session: Takes the loss, and judges whether the training has converged.
        local_steps: Updates on each batch.
    """

    #: A batch's way up goes through all layers, and `learn` needs all of them.
    cut_layer: Optional[int] = None
    last_kept: Optional[int] = None

    def __init__(self, nets: Nets, session: Session, local_steps: int = 1) -> None:
        self.nets, self.session, self.local_steps = nets, session, local_steps
        self.loss = 0.0
        #: Mean loss of the present iteration's batches so far.
        self.mean = 0.0
        self.residual: Optional[float] = None
        #: The iteration's batches, for further steps on them.
        self._kept: list[Blobs] = []

    def send(self, net: NetDriver, batch: MicroBatch, residual: Optional[float]) -> None:
        """Nothing: there is no piece above."""
        self.residual = residual

    def keep(self, arrays: Blobs) -> None:
        """Keep a copy of a batch that came up, if further steps are to be made on it."""
        if self.local_steps > 1:
            self._kept.append({name: np.array(values) for name, values in arrays.items()})

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """Nothing: all layers have run, and no answer is awaited. Returns 0."""
        return 0.0

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Run backward from the loss; further steps on the iteration's batches follow its update.

        Args:
            net: Holds the batch, forwarded through all layers.
            batch: Which one.
            loss: Of it.
        """
        self.loss = loss
        self.mean = (0.0 if batch.is_first else self.mean) + loss / batch.parts
        if batch.is_last:
            self.session.lines.show(batch.iteration, self.mean)
            self.session.judge(batch.iteration, self.residual)
        net.backward()
        yield net
        if not batch.is_last:
            return
        kept, self._kept = self._kept, []
        for _ in range(self.local_steps - 1):
            for arrays in kept:
                if batch.parts > 1:
                    net.feed(arrays)
                net.forward()
                net.backward()
            yield net

    def test(self, iteration: int, number: int) -> None:
        """Run the test net, and add up its outputs."""
        self.nets.test.forward()
        self.session.test_means.add(self.nets.test.outputs())
