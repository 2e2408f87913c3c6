"""net1: the lower half. Owns the data, sends pool2 up, learns from the conv3p that comes down.

One iteration of both halves (thesis figure 8.1), time downwards:

    net1                                   net2
    ----                                   ----
    [1] data ... pool2, forward
        pool2, labels  ----------------->  [2] all layers forward, backward
    [3] conv3, forward                         conv3p out, weights updated
        (while net2 is at work)
    [4] conv3p in     <------------------
        loss, backward, weights updated
"""

from __future__ import annotations

import numpy as np

from dualnet.exchange.channel import Channel, Message
from dualnet.train.answer import RESIDUAL
from dualnet.train.driver import NetDriver
from dualnet.train.half import Half
from dualnet.train.learn import make_learning
from dualnet.train.session import Session

__all__ = ["Net1", "batch_of"]


class Net1:
    """The loop of net1.

    Args:
        half: net1's net and solver.
        channel: The way to net2.
        session: Iterations, log, tests and snapshots of this run.
    """

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        self.half, self.channel, self.session = half, channel, session
        resolved = half.resolved
        self.dual = resolved.dual
        self.cut_layer = resolved.cut_layer(resolved.train)
        self.test_cut_layer = resolved.cut_layer(resolved.test)
        self.tie = half.config.coupling.tie
        self.learning = make_learning(half, channel, session)

    def run(self) -> None:
        """Train to max_iter."""
        if self.tie != "never" and not self.session.is_continued:
            self.channel.send(Message("tie", 0, self.half.train.parameters(self.dual)))
        self.session.train(self.step, self.test)

    def step(self, iteration: int) -> None:
        """One iteration; the numbers are those of the picture above."""
        self.session.begun()
        self.half.seed(iteration)
        loss = self.half.train.forward(last=self.cut_layer)  # [1]
        self.channel.send(Message("up", iteration, {**self.batch(self.half.train), **self.notes()}))
        self.learning.learn(iteration, loss)  # [3] and [4]
        if self.tie == "every":
            weights = self.channel.receive("tie", iteration + 1).arrays
            self.half.train.set_parameters(weights)
        self.session.completed(iteration)

    def test(self, iteration: int) -> None:
        """Send every test batch up; net2 measures the accuracy."""
        self.half.share_weights()
        for number in range(self.session.test_iter):
            self.half.test.forward(last=self.test_cut_layer)
            self.channel.send(Message(f"test{number:05d}", iteration, self.batch(self.half.test)))

    def notes(self) -> dict[str, np.ndarray]:
        """What goes beside a batch: how near net1 came to its target, if net2 is to judge by it."""
        if not self.learning.wants_residual:
            return {}
        return {RESIDUAL: np.array([self.learning.residual], np.float32)}

    def batch(self, net: NetDriver) -> dict[str, np.ndarray]:
        """What of the batch just forwarded goes up."""
        return batch_of(net, self.half.config.cut.blobs, self.half.config.cut.labels)


def batch_of(net: NetDriver, blobs: list[str], labels: list[str]) -> dict[str, np.ndarray]:
    """The cut blobs, (N, C, H, W) each, and the labels, (N,) each, that a net has just made."""
    flat = {label: net.data(label).reshape(-1) for label in labels}
    return {**{blob: net.data(blob) for blob in blobs}, **flat}
