"""What a piece does with the piece above: sends batches up, and learns from the answers.

Each rule is a class. `begin` does what needs no answer, for a batch that has just gone up. `learn`
takes the answer and runs the net backward; it yields whenever gradients are ready for an update,
and continues after that: once a batch, and with target `admm` once an alternation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, Optional, Protocol

import numpy as np

from dualnet.config import CutEnd
from dualnet.coupling import Multipliers, penalty
from dualnet.cut.check import loss_layer
from dualnet.cut.upstream import beyond_cut, last_maker, layers_without_inputs
from dualnet.exchange.channel import Message
from dualnet.train.gauge.convergence import relative_residual
from dualnet.train.gauge.fidelity import FidelityMeter
from dualnet.train.gauge.liveness import LivenessCheck
from dualnet.train.loop.messages import CONVERGED, RESIDUAL, Blobs, MessageChannel
from dualnet.train.loop.micro_batch import MicroBatch
from dualnet.train.loop.schedule import Lookahead, lookahead
from dualnet.train.loop.session import Session
from dualnet.train.net.crossing import batch_of
from dualnet.train.net.driver import NetDriver, Output
from dualnet.train.net.nets import Nets

__all__ = ["Above", "Learning", "make_above"]


class Learning(Protocol):
    """What the training loop asks of whoever knows the loss: the piece above, or the net itself."""

    #: Loss of the batch that `learn` has taken: of the labels where it is known, else of the pairs.
    loss: float

    @property
    def cut_layer(self) -> Optional[int]:
        """The last layer that a batch's way up needs; None: all layers."""

    @property
    def last_kept(self) -> Optional[int]:
        """The last layer whose result `learn` needs; None: of all that were run."""

    def keep(self, arrays: Blobs) -> None:
        """Take note of a batch that came up, if it is needed again after its update."""

    def send(self, net: NetDriver, batch: MicroBatch, residual: Optional[float]) -> None:
        """Send a batch up whose activations `net` has just made."""

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """Do what needs no answer; the loss of the layers that were run."""

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Take a batch's answer; yields the net that has the gradients, before each update."""

    def test(self, iteration: int, number: int) -> None:
        """Run the test net on the batch that is next, or in it, and hand on what it gives."""


class Above:
    """What the rules share: the lower end of a link.

    Args:
        nets: The piece's nets.
        end: Its end of the cut above.
        channel: The way to the piece above.
        session: Takes the loss and further series of an iteration.
    """

    def __init__(self, nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> None:
        self.nets, self.end, self.channel, self.session = nets, end, channel, session
        self.coupling, self.compared = end.coupling, nets.resolved.compared_above
        train = nets.resolved.train
        self.cut_layer: Optional[int] = last_maker(train, end.cut.blobs)
        self.test_cut_layer = last_maker(nets.resolved.test, end.cut.blobs)
        self.meter = FidelityMeter(nets, end.coupling.fidelity_interval)
        self.liveness = LivenessCheck(nets, session.log)
        self.loss = 0.0
        #: Mean loss of the present iteration's batches so far.
        self.mean = 0.0
        self.wants_residual = nets.config.convergence.residual is not None

    @property
    def last_kept(self) -> Optional[int]:
        """See `Learning.last_kept`: here, none beyond the cut."""
        return self.cut_layer

    def keep(self, arrays: Blobs) -> None:
        """See `Learning.keep`: the net that holds the batch does."""

    def send(self, net: NetDriver, batch: MicroBatch, residual: Optional[float]) -> None:
        """Send the cut blobs and labels that `net` has just made.

        Args:
            net: Holds the batch.
            batch: Which one.
            residual: The largest |x - z| / |x| of the pieces below, if there are any.
        """
        arrays = batch_of(net, self.end.cut)
        if self.wants_residual and batch.is_first:
            # What is judged by: how near the pieces came to their targets in the last iteration.
            largest = max(residual or 0.0, self.session.residual)
            arrays[RESIDUAL] = np.array([largest], np.float32)
        self.channel.send(Message(batch.kind("up"), batch.iteration, arrays))

    def test(self, iteration: int, number: int) -> None:
        """Run the test net up to the cut, and send what it gives."""
        net = self.nets.test
        net.forward(last=self.test_cut_layer)
        self.channel.send(Message(f"test{number:05d}", iteration, batch_of(net, self.end.cut)))

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """See `Learning.begin`; mostly nothing, and 0."""
        return 0.0

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """See `Learning.learn`.

        Args:
            net: Holds the batch's activations.
            batch: Which one.
            loss: Of this net's own losses so far, as of an auxiliary classifier.
        """
        raise NotImplementedError

    def show(
        self,
        batch: MicroBatch,
        loss: float,
        series: Optional[Callable[[], dict[str, float]]] = None,
        is_due: bool = False,
        outputs: Optional[Callable[[], list[Output]]] = None,
    ) -> None:
        """Log the mean loss of an iteration's batches, once the last one's is known.

        Args:
            batch: Whose loss it is.
            loss: Of this batch.
            series, is_due, outputs: As of `Session.show_training`.
        """
        self.loss = loss
        self.mean = (0.0 if batch.is_first else self.mean) + loss / batch.parts
        if batch.is_last:
            self.session.show_training(batch.iteration, self.mean, series, is_due, outputs)

    def receive(self, kind: str, batch: MicroBatch) -> Blobs:
        """The answer of the piece above, without what stands beside it."""
        arrays = dict(self.channel.receive(batch.kind(kind), batch.iteration).arrays)
        if CONVERGED in arrays:
            self.session.end_after(int(arrays.pop(CONVERGED)[0]))
        return self.meter.take(arrays)

    def holder(self, net: NetDriver, batch: MicroBatch) -> NetDriver:
        """The net that has the gradients of the iteration's batches up to this one.

        Args:
            net: Has just been run backward with `batch`.
        """
        if batch.parts == 1 or net is self.nets.train:
            return net
        self.nets.gather(net)
        return self.nets.train

    def updating(self, net: NetDriver, holder: NetDriver, batch: MicroBatch) -> Iterator[NetDriver]:
        """Have the weights changed after the last batch, watched by the liveness check.

        Args:
            net: Holds the batch's activations.
            holder: Has the gradients.
            batch: The one whose answer has been taken.
        """
        if batch.is_last:
            self.liveness.before_update(net, holder, batch.iteration)
        yield holder
        if batch.is_last:
            self.liveness.after_update(batch.iteration)

    def note_residual(self, net: NetDriver, z: Blobs) -> None:
        """Measure how far x is from its target, if the convergence criterion asks."""
        if self.wants_residual:
            self.session.residual = max(
                relative_residual(net.data(self.compared[name]), z[name]) for name in z
            )

    def send_output(self, net: NetDriver, kind: str, batch: MicroBatch) -> None:
        """Send x up: the answer is a point near it."""
        outputs = {name: net.data(blob) for name, blob in self.compared.items()}
        self.channel.send(Message(batch.kind(kind), batch.iteration, outputs))

    def norms(self, net: NetDriver) -> dict[str, float]:
        """Mean length per sample of what is compared: the thesis's collapse shows here."""
        blobs = [blob for pair in self.compared.items() for blob in reversed(pair)]
        return {f"{blob}_norm": net.length(blob) for blob in blobs}


class LossStep(Above):
    """A loss on (x, target): targets `activation`, `updated`, `gradient`, `prox`.

    The answer has z, (N, C, H, W) float32 for each compared pair. With `prox`, x of the same shapes
    goes up first.
    """

    def __init__(self, nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> None:
        super().__init__(nets, end, channel, session)
        self.sends_output = end.coupling.rule.asks_at_points and not end.coupling.rule.alternates
        #: Where answers come late, the dual layers run later than the layers before the cut: when
        #: they have made as many updates as their copies above had made, which ran on this batch
        #: then. Else x and y would differ by updates, and not only by what is to be learned.
        self.is_put_off = nets.config.batches_ahead(nets.name) > 0 and not self.sends_output
        is_kept = nets.config.train.stale_activations == "keep"
        #: How far ahead the copies run; where one net holds each batch in turn, not at all.
        self.copies_ahead = (
            lookahead(nets.config, end.neighbour, nets.resolved.iter_size)
            if is_kept
            else Lookahead()
        )
        #: Batches whose dual layers are still to be run, and the losses of those that were.
        self.pending: dict[int, NetDriver] = {}
        self.dual_losses: dict[int, float] = {}
        self.is_frozen = nets.resolved.is_frozen
        train = nets.resolved.train
        self.losses = [
            train.place(loss_layer(train, blob, name)) for name, blob in self.compared.items()
        ]
        #: Where the layers begin that need the answer.
        self.first_loss = min(self.losses)
        self.last_output = nets.train.layer_before(self.first_loss)

    @property
    def last_kept(self) -> Optional[int]:
        """See `Learning.last_kept`."""
        return self.cut_layer if self.is_put_off else self.last_output

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """Run the dual layers while the piece above is at work."""
        if self.is_put_off:
            self.pending[batch.number] = net
            return 0.0
        loss = self.forward_dual(net)
        if self.sends_output:
            self.send_output(net, "x", batch)
        return loss

    def forward_dual(self, net: NetDriver) -> float:
        """Run the layers between the cut and the loss."""
        after = net.layer_after(self.cut_layer) if self.cut_layer is not None else 0
        return 0.0 if after == self.first_loss else net.forward(after, self.last_output)

    def catch_up(self, batch: MicroBatch) -> None:
        """Run the dual layers on all batches that the piece above runs before this answer."""
        horizon = self.session.horizon(batch.iteration, self.copies_ahead.iterations)
        last = self.copies_ahead.last(batch, horizon)
        for number in sorted(number for number in self.pending if number <= last):
            net = self.pending.pop(number)
            self.nets.seed(number)
            self.dual_losses[number] = self.forward_dual(net)

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Feed the target, and run the loss on it backward."""
        if self.is_put_off:
            self.catch_up(batch)
            loss += self.dual_losses.pop(batch.number)
        answer = self.receive("down", batch)
        self.note_residual(net, answer)
        net.feed(answer)
        # As large as conv3p, and the backward pass is where memory peaks.
        del answer
        loss += net.forward(self.first_loss)
        is_due = self.meter.is_due(batch.iteration)
        self.show(batch, loss, lambda: self.norms(net), is_due, net.outputs)
        if self.is_frozen:
            # No loss has a weight: nothing is learned here, and no gradient goes further down.
            if batch.is_last:
                self.liveness.before_update(net, net, batch.iteration)
                self.liveness.after_update(batch.iteration)
            return
        self.meter.measure(net, batch.is_first)
        net.backward()
        holder = self.holder(net, batch)
        if batch.is_last:
            self.session.show_series(self.meter.compare(holder))
        yield from self.updating(net, holder, batch)


class AdmmStep(LossStep):
    """The augmented Lagrangian (5.5) on (x, z): target `admm`, see dualnet/coupling/admm.py.

    For each alternation x goes up and z comes down, (N, C, H, W) float32 for each compared pair.
    """

    def __init__(self, nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> None:
        super().__init__(nets, end, channel, session)
        self.multipliers = Multipliers()
        self.sources = layers_without_inputs(nets.resolved.train)

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """Run the dual layers, and send x of the first alternation."""
        loss = super().begin(net, batch)
        self.send_output(net, "x00", batch)
        return loss

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Alternate: z comes down, an update, x of the changed weights goes up."""
        self.multipliers.reset()
        series: dict[str, float] = {}
        is_measured = self.meter.is_due(batch.iteration)
        alternations = self.coupling.alternations
        for number in range(alternations):
            beta, is_last = penalty(self.coupling, number), number == alternations - 1
            z = self.receive(f"down{number:02d}", batch)
            self.note_residual(net, z)
            lagrangian = self.lagrangian(net, z, beta)
            if number == 0:
                self.show(batch, loss + lagrangian, lambda: self.norms(net), is_measured)
            if is_last:
                self.meter.measure(net, batch.is_first)
            net.backward()
            if is_last:
                self.session.show_series(self.meter.compare(net))
            x = {name: net.data(blob) for name, blob in self.compared.items()}
            self.multipliers.ascend(x, z, beta)
            if number == 0:
                series["first_residual"] = self.multipliers.primal_residual
            yield from self.updating(net, net, batch)
            if not is_last:
                self.forward_again(net, batch)
                self.send_output(net, f"x{number + 1:02d}", batch)
        series["primal_residual"] = self.multipliers.primal_residual
        series["dual_residual"] = self.multipliers.dual_residual
        self.session.show_series(series)

    def lagrangian(self, net: NetDriver, z: Blobs, beta: float) -> float:
        """(5.5) without the labels' loss, mean over the samples; `backward` makes its gradient."""
        net.feed(self.multipliers.shifted(z, beta))
        for loss in self.losses:
            net.set_loss_weight(loss, beta)
        return net.forward(self.first_loss) + self.multipliers.offset(beta)

    def forward_again(self, net: NetDriver, batch: MicroBatch) -> None:
        """The same batch through the changed weights, with the same dropout."""
        self.nets.seed(batch.number)
        net.forward_without(self.sources, self.last_output)


class BackpropStep(Above):
    """dL/dp itself, as plain model parallelism has it: the control `backprop`.

    The answer has dL/d(blob) for each cut blob, of its shape, and the loss, (1,) float32. Of the
    layers beyond the cut only those of an auxiliary loss of this piece's own are run.
    """

    def __init__(self, nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> None:
        super().__init__(nets, end, channel, session)
        self.beyond = beyond_cut(nets.resolved.train, end.cut)

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Run backward from the gradients that came down."""
        arrays = self.receive("down", batch)
        loss += float(arrays.pop("loss")[0])
        if self.beyond:
            self.nets.seed(batch.number)
            loss += net.run(self.beyond)
        # The loss of the chain from here up: this net's loss on its dual layers is not run.
        self.show(batch, loss, outputs=lambda: [("loss", np.array([loss]), 1.0)])
        net.backward_from(arrays, self.beyond)
        yield from self.updating(net, self.holder(net, batch), batch)


class FrozenStep(Above):
    """The piece keeps its random weights: the control `frozen`, the thesis's missing loss_weight.

    The answer has the loss alone, (1,) float32.
    """

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Take the loss; there is nothing to learn."""
        # The answer keeps this piece from running ahead, and says how it goes.
        loss += float(self.receive("down", batch)["loss"][0])
        self.show(batch, loss, outputs=lambda: [("loss", np.array([loss]), 1.0)])
        yield from ()


_STEPS: dict[str, type[Above]] = {
    "admm": AdmmStep,
    "backprop": BackpropStep,
    "frozen": FrozenStep,
}


def make_above(nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> Above:
    """The way that the cut's `target` asks for."""
    return _STEPS.get(end.coupling.target, LossStep)(nets, end, channel, session)
