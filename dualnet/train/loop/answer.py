"""How net2 answers a batch: step [2] of the picture in net1.py, after its forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.coupling import Multipliers, make_target, penalty, proximal_point, unit
from dualnet.cut.upstream import layers_below
from dualnet.exchange.channel import Channel, Message
from dualnet.train.gauge.fidelity import PREFIX, is_due
from dualnet.train.loop.micro_batch import MicroBatch
from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Half

__all__ = ["CONVERGED", "RESIDUAL", "make_answer"]

#: Beside an answer: training ends after this iteration. Beside a batch: net1's last |x - z| / |x|.
CONVERGED, RESIDUAL = "converged", "residual"

Blobs = dict[str, np.ndarray]


class _Answer:
    """What the rules share.

    Args:
        half: net2's net and solver.
        channel: The way to net1.
        session: Knows whether the training has converged.
    """

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        self.half, self.channel, self.session = half, channel, session
        self.net, self.compared = half.train, half.resolved.compared
        self.coupling, self.cut = half.config.coupling, half.config.cut

    def answer_and_update(self, batch: MicroBatch, loss: float) -> None:
        """Send what net1 waits for, and update the weights after an iteration's last batch.

        Args:
            batch: With which the net was forward and backward.
            loss: Of that.
        """
        raise NotImplementedError

    def send(self, batch: MicroBatch, arrays: Blobs, stage: str = "down") -> None:
        self.channel.send(Message(batch.stage(stage), batch.iteration, arrays))

    def update(self, batch: MicroBatch) -> None:
        """Change the weights, if the gradients of all of the iteration's batches are there."""
        if batch.is_last:
            self.half.update()

    def notes(self, batch: MicroBatch) -> Blobs:
        """What goes beside the answer: which is the last one, and dL/dp for net1's meter."""
        notes: Blobs = {}
        iteration = batch.iteration
        last = self.session.max_iter - 1
        if self.session.has_converged and last == iteration + self.half.config.train.batches_ahead:
            # Said when it is found: net1 sends nothing that would not be trained with.
            notes[CONVERGED] = np.array([last], np.int64)
        if is_due(self.coupling.fidelity_interval, iteration):
            notes.update({PREFIX + b: self.net.diff(b).copy() for b in self.cut.blobs})
        return notes


class WithTarget(_Answer):
    """A target that follows from this one pass."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        train = half.resolved.train
        dual = [train.place(train.layer(name, "cut.dual")) for name in half.resolved.dual]
        self.target = make_target(self.coupling, self.net, self.compared, dual)

    def answer_and_update(self, batch: MicroBatch, loss: float) -> None:
        notes = self.notes(batch)
        if not self.target.needs_update:
            # net1 goes on while the weights here are updated.
            self.send(batch, {**self.target.make(), **notes})
        self.update(batch)
        if self.target.needs_update:
            self.send(batch, {**self.target.make(), **notes})


class WithPoint(_Answer):
    """The minimum of this net's loss near net1's output: `prox`, and with multipliers `admm`."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        self.multipliers = Multipliers()
        #: What stays as it is when the net is run from given outputs of the dual layers.
        self.below = layers_below(half.resolved.train, self.compared.values())

    def answer_and_update(self, batch: MicroBatch, loss: float) -> None:
        notes = self.notes(batch)
        # Passes at other points add to the gradients; this net learns from the batch's own.
        diffs = self.net.parameter_diffs()
        if self.coupling.target == "prox":
            x = self.channel.receive(batch.stage("x"), batch.iteration).arrays
            rho = self.coupling.rho / unit(self.coupling, next(iter(x.values())))
            self.send(batch, {**self.point(batch, x, x, rho), **notes})
        else:
            self.alternate(batch, notes)
        self.net.set_parameter_diffs(diffs)
        self.update(batch)

    def alternate(self, batch: MicroBatch, notes: Blobs) -> None:
        """net2's side of the alternations in dualnet/coupling/admm.py."""
        self.multipliers.reset()
        z: Blobs = {}
        for number in range(self.coupling.alternations):
            beta = penalty(self.coupling, number)
            x = self.channel.receive(f"x{number:02d}", batch.iteration).arrays
            z = self.point(batch, x, z or x, beta)
            is_last = number == self.coupling.alternations - 1
            self.send(batch, {**z, **(notes if is_last else {})}, f"down{number:02d}")
            self.multipliers.ascend(x, z, beta)

    def point(self, batch: MicroBatch, x: Blobs, start: Blobs, rho: float) -> Blobs:
        """z, near x."""
        coupling, values = self.coupling, self.multipliers.values
        return proximal_point(
            lambda z: self.gradient_at(batch, z),
            x, start, values, rho, coupling.inner_steps, coupling.inner_rate,
        )  # fmt: skip

    def gradient_at(self, batch: MicroBatch, z: Blobs) -> Blobs:
        """N dL/dz at z: the layers above, forward and backward, with this batch's dropout."""
        self.half.seed(batch.number)
        for wire, values in z.items():
            self.net.data(self.compared[wire])[...] = values
        self.net.forward_without(self.below)
        self.net.backward_without(self.below)
        return {
            wire: np.float32(len(values)) * self.net.diff(self.compared[wire])
            for wire, values in z.items()
        }


class WithGradient(_Answer):
    """dL/dp and the loss: the control `backprop`."""

    def answer_and_update(self, batch: MicroBatch, loss: float) -> None:
        diffs = {blob: self.net.diff(blob) for blob in self.cut.blobs}
        notes = self.notes(batch)
        self.send(batch, {**diffs, "loss": np.array([loss], np.float32), **notes})
        self.update(batch)


class WithNothing(_Answer):
    """The loss alone: the control `frozen`."""

    def answer_and_update(self, batch: MicroBatch, loss: float) -> None:
        self.send(batch, {"loss": np.array([loss], np.float32), **self.notes(batch)})
        self.update(batch)


def make_answer(half: Half, channel: Channel, session: Session) -> Any:
    """The way that `coupling.target` asks for."""
    kinds = {
        "prox": WithPoint,
        "admm": WithPoint,
        "backprop": WithGradient,
        "frozen": WithNothing,
    }
    return kinds.get(half.config.coupling.target, WithTarget)(half, channel, session)
