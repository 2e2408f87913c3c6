"""How a piece learns from the answers from above: a class for each rule of `coupling.target`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np

from dualnet.config import CutEnd
from dualnet.coupling import Multipliers, penalty
from dualnet.cut.check import loss_layer
from dualnet.cut.upstream import beyond_cut, layers_without_inputs
from dualnet.training.loop.above import Above
from dualnet.training.loop.messages import Blobs, MessageChannel
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.schedule import Lookahead, lookahead
from dualnet.training.loop.session import Session
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["make_above"]


class LossStep(Above):
    """A loss on (x, target): targets `activation`, `updated`, `gradient`, `prox`.

    The answer has z, (N, C, H, W) float32 for each compared pair. With `prox`, x of the same shapes
    goes up first.
    """

    def __init__(self, nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> None:
        super().__init__(nets, end, channel, session)
        self.sends_output = end.coupling.rule.asks_at_points and not end.coupling.rule.alternates
        #: With answers that come late the dual layers do not run on a batch when it is sent, but
        #: when they have had as many updates as their copies above had when these ran on it.
        #: Otherwise x and y would differ by updates as well.
        self.is_put_off = nets.config.batches_ahead(nets.name) > 0 and not self.sends_output
        is_kept = nets.config.train.stale_activations == "keep"
        #: How many batches ahead of their answers the copies in the piece above run; none where
        #: one net holds each batch in turn.
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
        #: The first layer that needs the answer.
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
        last_iteration = self.session.last_iteration_to_send(
            batch.iteration, self.copies_ahead.iterations
        )
        last = self.copies_ahead.last_to_send(batch, last_iteration)
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
        # Free the target, as large as conv3p, before the backward pass, where memory use peaks.
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
            self.session.lines.show_series(self.meter.compare(holder))
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
                self.session.lines.show_series(self.meter.compare(net))
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
        self.session.lines.show_series(series)

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
    layers after the cut only those that lead to an auxiliary loss of this piece are run.
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
        # Waiting for the answer keeps this piece in step, and its loss is for the log.
        loss += float(self.receive("down", batch)["loss"][0])
        self.show(batch, loss, outputs=lambda: [("loss", np.array([loss]), 1.0)])
        yield from ()


_STEPS: dict[str, type[Above]] = {
    "admm": AdmmStep,
    "backprop": BackpropStep,
    "frozen": FrozenStep,
}


def make_above(nets: Nets, end: CutEnd, channel: MessageChannel, session: Session) -> Above:
    """The lower end of a cut, of the class that its `target` needs."""
    return _STEPS.get(end.coupling.target, LossStep)(nets, end, channel, session)
