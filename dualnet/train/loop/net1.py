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

Where the solver's `iter_size` is more than 1, so many batches go this way before the update.

With `train.schedule: overlapped` net1 sends batches ahead of the answers, here one (staleness 1),
so that neither half waits for the other's turn:

    net1   [1] 0 | [1] 1 | [4] 0 | [1] 2 | [4] 1 | [1] 3 | [4] 2 ...
    net2           | [2] 0   | [2] 1         | [2] 2         ...

Before a test and before a checkpoint it waits for every answer: both halves must stand between the
same two iterations there. With late answers conv3 is computed in [4], by weights that are as old as
conv3p's, and momentum is that of late_momentum.py.
"""

from __future__ import annotations

import numpy as np

from dualnet.exchange.channel import Channel, Message
from dualnet.train.loop.activations import make_memory
from dualnet.train.loop.answer import RESIDUAL
from dualnet.train.loop.learn import make_learning
from dualnet.train.loop.micro_batch import MicroBatch, micro_batches
from dualnet.train.loop.session import Session
from dualnet.train.net.driver import NetDriver, batch_of
from dualnet.train.net.nets import Half

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
        resolved = half.resolved
        self.dual = resolved.dual
        self.cut_layer = resolved.cut_layer(resolved.train)
        self.test_cut_layer = resolved.cut_layer(resolved.test)
        self.tie = half.config.coupling.tie
        self.parts = resolved.iter_size
        self.learning = make_learning(half, channel, session)
        self.staleness = half.config.train.batches_ahead
        self.memory = make_memory(half)
        #: Number of the next batch to be sent, and the losses so far of those that were.
        self.sent = session.iteration * self.parts
        self.losses: dict[int, float] = {}

    def run(self) -> None:
        """Train to max_iter."""
        self.sent = self.session.iteration * self.parts
        if self.tie != "never" and not self.session.is_continued:
            self.channel.send(Message("tie", 0, self.half.train.parameters(self.dual)))
        self.session.train(self.step, self.test)

    def step(self, iteration: int) -> None:
        """One iteration; the numbers are those of the picture above."""
        self.session.begun()
        for batch in micro_batches(iteration, self.parts):
            # With the alternating schedule nothing is ahead: one batch goes up, and then comes [4].
            while self.sent <= self.last_to_send(batch):
                self.send_batch(MicroBatch.numbered(self.sent, self.parts))
                self.sent += 1
            net = self.memory.recall(batch.number, self.learning.last_kept)
            self.learning.learn(net, batch, self.losses.pop(batch.number))  # [4]
        if self.tie == "every":
            weights = self.channel.receive("tie", iteration + 1).arrays
            self.half.train.set_parameters(weights)
        self.session.is_ahead = self.sent > (iteration + 1) * self.parts
        self.session.completed(iteration)

    def last_to_send(self, batch: MicroBatch) -> int:
        """Number of the last batch that may go up before the answer to `batch` is taken."""
        last = self.session.horizon(batch.iteration, self.staleness)
        return min(batch.number + self.staleness * self.parts, (last + 1) * self.parts - 1)

    def send_batch(self, batch: MicroBatch) -> None:
        """[1] and [3]: the next batch to the cut, and from there what no answer is needed for."""
        self.half.seed(batch.number)
        net, loss = self.memory.load(batch.number, self.cut_layer)  # [1]
        arrays = {**self.batch(net), **(self.notes() if batch.is_first else {})}
        self.channel.send(Message(batch.stage("up"), batch.iteration, arrays))
        self.losses[batch.number] = loss + self.learning.begin(net, batch)  # [3]

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
        return {RESIDUAL: np.array([self.session.residual], np.float32)}

    def batch(self, net: NetDriver) -> dict[str, np.ndarray]:
        """What of the batch just forwarded goes up."""
        return batch_of(net, self.half.config.cut.blobs, self.half.config.cut.labels)
