"""What a piece does with the piece below: takes its batches, and answers them.

Each rule is a class. `answer` is called once a batch, when the net has run backward and before its
update; `answer_late` right after the update, for the rule that answers with the new weights.
"""

from __future__ import annotations

from typing import Callable, Optional

import numpy as np

from dualnet.config import CutEnd
from dualnet.coupling import Multipliers, make_target, penalty, proximal_point, unit
from dualnet.cut.upstream import upstream_layers
from dualnet.exchange.channel import Message
from dualnet.training.gauge.fidelity import PREFIX, is_due
from dualnet.training.loop.messages import CONVERGED, RESIDUAL, Blobs, MessageChannel
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.session import Session
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["Below", "make_below"]

#: Gives dL/d(cut blob) of the labels' loss for the cut below a piece, by blob.
TrueGradients = Callable[[NetDriver], Blobs]


class Below:
    """What the rules share: the upper end of a link.

    Args:
        nets: The piece's nets.
        end: Its end of the cut below.
        channel: Message channel to the piece below.
        session: Knows whether the training has converged.
        true_gradients: Gives the back-propagated gradients at this cut, for the meter of the piece
            below.
    """

    def __init__(
        self,
        nets: Nets,
        end: CutEnd,
        channel: MessageChannel,
        session: Session,
        true_gradients: TrueGradients,
    ) -> None:
        self.nets, self.end, self.channel, self.session = nets, end, channel, session
        self.coupling, self.compared = end.coupling, nets.resolved.compared_below
        self.true_gradients = true_gradients
        #: The largest |x - z| / |x| of the pieces below, as they last said; None: they do not.
        self.residual: Optional[float] = None

    def take(self, batch: MicroBatch) -> Blobs:
        """Wait for a batch.

        Returns:
            The cut blobs, (N, C, H, W) float32 each, and the labels; the caller's own.
        """
        arrays = dict(self.channel.receive(batch.kind("up"), batch.iteration).arrays)
        if RESIDUAL in arrays:
            self.residual = float(arrays.pop(RESIDUAL)[0])
        return arrays

    def take_test(self, iteration: int, number: int) -> Blobs:
        """Wait for a test batch."""
        return dict(self.channel.receive(f"test{number:05d}", iteration).arrays)

    def answer(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Send the answer. Forward and backward have run on the batch; the update has not.

        Args:
            net: Holds the batch, and its gradients.
            batch: Which one.
            loss: Of the labels where it is known, else this piece's own.
        """
        raise NotImplementedError

    def answer_late(self, net: NetDriver, batch: MicroBatch) -> None:
        """Called right after the update: sends the answer if the rule makes it of new weights."""

    def send(self, batch: MicroBatch, arrays: Blobs, kind: str = "down") -> None:
        """Send an answer."""
        self.channel.send(Message(batch.kind(kind), batch.iteration, arrays))

    def notes(self, net: NetDriver, batch: MicroBatch) -> Blobs:
        """Extra arrays of an answer: the last iteration, and dL/dp for the meter below."""
        notes: Blobs = {}
        iteration = batch.iteration
        last = self.session.max_iter - 1
        if self.session.has_converged and last == iteration + self.session.in_flight:
            # Sent with the answer at which it was found: no piece sends a batch after the last one.
            notes[CONVERGED] = np.array([last], np.int64)
        if is_due(self.coupling.fidelity_interval, iteration):
            gradients = self.true_gradients(net)
            notes.update({PREFIX + blob: np.array(diff) for blob, diff in gradients.items()})
        return notes


class TargetAnswer(Below):
    """A target that follows from the batch's own pass: z for each compared pair.

    `activation`, `updated` and `gradient`; z are (N, C, H, W) float32.
    """

    def __init__(
        self,
        nets: Nets,
        end: CutEnd,
        channel: MessageChannel,
        session: Session,
        true_gradients: TrueGradients,
    ) -> None:
        super().__init__(nets, end, channel, session, true_gradients)
        train = nets.resolved.train
        dual = [train.place(train.layer(name, f"{end.key}.dual")) for name in end.dual]
        self.target = make_target(self.coupling, self.compared, dual)
        self._notes: Blobs = {}

    def answer(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Send z; the piece below goes on while the weights here are updated."""
        notes = self.notes(net, batch)
        if self.coupling.rule.answers_late:
            self._notes = notes
        else:
            self.send(batch, {**self.target.make(net), **notes})

    def answer_late(self, net: NetDriver, batch: MicroBatch) -> None:
        """Send z of the new weights, if the rule wants these."""
        if self.coupling.rule.answers_late:
            self.send(batch, {**self.target.make(net), **self._notes})


class ProximalAnswer(Below):
    """The minimum of the labels' loss near the outputs of the piece below: `prox`, and `admm`.

    `prox` receives x (kind `x`) and sends z (`down`); `admm` receives `x00`, `x01`, … and sends
    `down00`, `down01`, … in turn. x and z are (N, C, H, W) float32 for each compared pair. Only the
    piece that has the labels' loss can answer so; it takes batches one by one.
    """

    def __init__(
        self,
        nets: Nets,
        end: CutEnd,
        channel: MessageChannel,
        session: Session,
        true_gradients: TrueGradients,
    ) -> None:
        super().__init__(nets, end, channel, session, true_gradients)
        self.net = nets.train
        self.multipliers = Multipliers()
        #: Layers up to the compared blobs, skipped when the net is re-run from given values z.
        self.upstream = upstream_layers(nets.resolved.train, self.compared.values())

    def answer(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Send z near the x that come up; with `admm` several in turn."""
        notes = self.notes(net, batch)
        # The passes at z add to the parameter gradients: save the batch's own for the update.
        diffs = self.net.parameter_diffs()
        if self.coupling.rule.alternates:
            self.alternate(batch, notes)
        else:
            x = self.channel.receive(batch.kind("x"), batch.iteration).arrays
            rho = self.coupling.rho / unit(self.coupling, next(iter(x.values())))
            self.send(batch, {**self.point(batch, x, x, rho), **notes})
        self.net.set_parameter_diffs(diffs)

    def alternate(self, batch: MicroBatch, notes: Blobs) -> None:
        """This side of the alternations in dualnet/coupling/admm.py."""
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
        """N dL/dz at z: the layers downstream, forward and backward, with this batch's dropout."""
        self.nets.seed(batch.number)
        for name, values in z.items():
            self.net.write_data(self.compared[name], values)
        self.net.forward_without(self.upstream)
        self.net.backward_without(self.upstream)
        return {
            name: np.float32(len(values)) * self.net.read_diff(self.compared[name])
            for name, values in z.items()
        }


class GradientAnswer(Below):
    """dL/d(blob) for each cut blob, of its shape, and the loss, (1,) float32: `backprop`."""

    def answer(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Send them."""
        diffs = {blob: net.read_diff(blob) for blob in self.end.cut.blobs}
        notes = self.notes(net, batch)
        self.send(batch, {**diffs, "loss": np.array([loss], np.float32), **notes})


class LossAnswer(Below):
    """The loss alone, (1,) float32: the control `frozen`."""

    def answer(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Send it."""
        self.send(batch, {"loss": np.array([loss], np.float32), **self.notes(net, batch)})


_ANSWERS: dict[str, type[Below]] = {
    "prox": ProximalAnswer,
    "admm": ProximalAnswer,
    "backprop": GradientAnswer,
    "frozen": LossAnswer,
}


def make_below(
    nets: Nets,
    end: CutEnd,
    channel: MessageChannel,
    session: Session,
    true_gradients: TrueGradients,
) -> Below:
    """The upper end of a cut, of the class that its `target` needs."""
    kind = _ANSWERS.get(end.coupling.target, TargetAnswer)
    return kind(nets, end, channel, session, true_gradients)
