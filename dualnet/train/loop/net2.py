"""net2: the upper half. Trains on the pool2 that net1 sends, answers with conv3p.

The picture of one iteration is in net1.py; here is its right-hand side.
"""

from __future__ import annotations

import numpy as np

from dualnet.exchange.channel import Channel, Message
from dualnet.train.loop.answer import RESIDUAL, make_answer
from dualnet.train.loop.micro_batch import micro_batches
from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Half

__all__ = ["Net2"]


class Net2:
    """The loop of net2.

    Args:
        half: net2's net and solver.
        channel: The way to net1.
        session: Iterations, log, tests and snapshots of this run.
    """

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        self.half, self.channel, self.session = half, channel, session
        self.dual = half.config.cut.dual
        self.tie = half.config.coupling.tie
        self.local_steps = half.config.train.local_steps
        self.parts = half.resolved.iter_size
        self.answer = make_answer(half, channel, session)

    def run(self) -> None:
        """Train to max_iter."""
        if self.tie != "never" and not self.session.is_continued:
            self.take_dual_weights()
        self.session.train(self.step, self.test)

    def step(self, iteration: int) -> None:
        """One iteration: [2] of the picture in net1.py."""
        net = self.half.train
        mean, residual, kept = 0.0, None, []
        for batch in micro_batches(iteration, self.parts):
            arrays = dict(self.channel.receive(batch.stage("up"), iteration).arrays)
            residual = arrays.pop(RESIDUAL, residual)
            if batch.is_first:
                self.session.begun()
            self.half.seed(batch.number)
            net.feed(arrays)
            loss = net.forward()
            mean += loss / self.parts
            if batch.is_last:
                self.session.show_training(iteration, mean)
                self.session.judge(iteration, None if residual is None else float(residual[0]))
            elif self.local_steps > 1:
                kept.append({name: np.array(values) for name, values in arrays.items()})
            net.backward()
            self.answer.answer_and_update(batch, loss)
        if self.local_steps > 1:
            kept.append(arrays)
        for _ in range(self.local_steps - 1):
            for arrays in kept:
                if self.parts > 1:
                    net.feed(arrays)
                net.forward()
                net.backward()
            self.half.update()
        if self.tie == "every":
            self.send_dual_weights(iteration)
        self.session.completed(iteration)

    def test(self, iteration: int) -> None:
        """Receive every test batch and log the mean of each output."""
        self.half.share_weights()
        for number in range(self.session.test_iter):
            self.half.test.feed(self.channel.receive(f"test{number:05d}", iteration).arrays)
            self.half.test.forward()
            self.session.add_test_outputs(self.half.test.outputs())
        self.session.show_test(iteration)

    def send_dual_weights(self, iteration: int) -> None:
        """Tie `every`: net1's dual layers take over these weights, under net1's names."""
        weights = {
            f"{layer}{name[len(dual) :]}": values
            for layer, dual in self.dual.items()
            for name, values in self.half.train.parameters([dual]).items()
        }
        self.channel.send(Message("tie", iteration + 1, weights))

    def take_dual_weights(self) -> None:
        """Tie `start`: the dual layers begin with net1's weights."""
        for name, values in self.channel.receive("tie", 0).arrays.items():
            layer, _, index = name.rpartition(".")
            self.half.train.set_parameters({f"{self.dual[layer]}.{index}": values})
