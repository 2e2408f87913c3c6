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
from dualnet.train.driver import NetDriver
from dualnet.train.half import Half
from dualnet.train.session import Session

__all__ = ["Net1"]


class Net1:
    """The loop of net1.

    Args:
        half: net1's net and solver.
        channel: The way to net2.
        session: Iterations, log, tests and snapshots of this run.
    """

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        self.half, self.channel, self.session = half, channel, session
        cut, resolved = half.config.cut, half.resolved
        self.blob, self.label = cut.blob, cut.label
        self.dual = list(cut.dual)
        #: conv3 and conv3p, as net1's loss sees them.
        self.compared = [resolved.output_blob, list(cut.dual.values())[-1]]
        # Layers that work on the cut blob in place still belong to net1's side of the cut.
        self.cut_layer = resolved.train.producers[self.blob][-1].name
        self.test_cut_layer = resolved.test.producers[self.blob][-1].name
        self.tie = half.config.coupling.tie
        self.is_frozen = resolved.is_frozen

    def run(self) -> None:
        """Train to max_iter."""
        if self.tie != "never" and not self.session.is_continued:
            self.channel.send(Message("tie", 0, self.half.train.parameters(self.dual)))
        for iteration in self.session.iterations():
            if self.session.is_test_due(iteration):
                self.test(iteration)
            self.step(iteration)
        if self.session.is_test_due(self.session.max_iter):
            self.test(self.session.max_iter)
        self.session.finish()

    def step(self, iteration: int) -> None:
        """One iteration; the numbers are those of the picture above."""
        half, net = self.half, self.half.train
        self.session.begun()
        half.seed(iteration)
        net.forward(last=self.cut_layer)  # [1]
        self.channel.send(Message("up", iteration, self.batch(net)))
        net.forward(net.layer_after(self.cut_layer), self.dual[-1])  # [3]
        net.feed(self.channel.receive("down", iteration).arrays)  # [4]
        loss = net.forward(net.layer_after(self.dual[-1]))
        self.session.show_training(iteration, loss, self.norms)
        if not self.is_frozen:
            net.backward()
            half.update()
        if self.tie == "every":
            net.set_parameters(self.channel.receive("tie", iteration + 1).arrays)
        self.session.completed(iteration)

    def test(self, iteration: int) -> None:
        """Send every test batch up; net2 measures the accuracy."""
        self.half.share_weights()
        for number in range(self.session.test_iter):
            self.half.test.forward(last=self.test_cut_layer)
            self.channel.send(Message(f"test{number:05d}", iteration, self.batch(self.half.test)))

    def norms(self) -> dict[str, float]:
        """Mean length per sample of both dual outputs: the thesis's collapse shows here."""
        return {
            f"{blob}_norm": float(np.sqrt(np.vdot(values, values) / len(values)))
            for blob, values in ((name, self.half.train.data(name)) for name in self.compared)
        }

    def batch(self, net: NetDriver) -> dict[str, np.ndarray]:
        """The cut blob, (N, C, H, W), and the labels, (N,), of the batch just forwarded."""
        return {self.blob: net.data(self.blob), self.label: net.data(self.label).reshape(-1)}
