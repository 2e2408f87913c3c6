"""How net1 learns from what comes down: steps [3] and [4] of the picture in net1.py."""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from dualnet.coupling import Multipliers, penalty
from dualnet.cut.check import loss_layer
from dualnet.cut.upstream import sources
from dualnet.exchange.channel import Channel, Message
from dualnet.train.gauge.convergence import relative_residual
from dualnet.train.gauge.fidelity import FidelityMeter
from dualnet.train.gauge.liveness import LivenessCheck
from dualnet.train.loop.answer import CONVERGED
from dualnet.train.loop.micro_batch import MicroBatch
from dualnet.train.loop.session import Session
from dualnet.train.net.driver import NetDriver, Output
from dualnet.train.net.nets import Half

__all__ = ["make_learning"]


class _Learning:
    """What the rules share.

    Args:
        half: net1's net and solver.
        channel: The way to net2.
        session: Takes the loss and further series of an iteration.
    """

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        self.half, self.channel, self.session = half, channel, session
        self.compared = half.resolved.compared
        self.cut_layer = half.resolved.cut_layer(half.resolved.train)
        self.meter = FidelityMeter(half)
        self.liveness = LivenessCheck(half, session.log)
        #: Mean loss of the present iteration's batches so far.
        self.loss = 0.0
        self.wants_residual = half.config.convergence.residual is not None

    @property
    def last_kept(self) -> Optional[int]:
        """The last layer whose result `learn` needs; None: none beyond the cut."""
        return self.cut_layer

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """Do what needs no answer, for a batch whose cut blobs are on their way.

        Returns:
            The loss of the layers that were run, as of an auxiliary classifier; mostly 0.
        """
        return 0.0

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        """Take the answer to a batch, and update the weights after an iteration's last one.

        Args:
            net: Holds the batch's activations.
            batch: Which one.
            loss: Of net1's own losses so far.
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
        self.loss = (0.0 if batch.is_first else self.loss) + loss / batch.parts
        if batch.is_last:
            self.session.show_training(batch.iteration, self.loss, series, is_due, outputs)

    def receive(self, stage: str, batch: MicroBatch) -> dict[str, np.ndarray]:
        """net2's answer, without what net2 says beside it."""
        arrays = dict(self.channel.receive(batch.stage(stage), batch.iteration).arrays)
        if CONVERGED in arrays:
            self.session.end_after(int(arrays.pop(CONVERGED)[0]))
        return self.meter.take(arrays)

    def holder(self, net: NetDriver, batch: MicroBatch) -> NetDriver:
        """The net that has the gradients of the iteration's batches up to this one.

        Args:
            net: Has just been run backward with `batch`.
        """
        if batch.parts == 1 or net is self.half.train:
            return net
        self.half.gather(net)
        return self.half.train

    def update(self, net: NetDriver, holder: NetDriver, batch: MicroBatch) -> None:
        """Change the weights after the last batch, under the eyes of the liveness check.

        Args:
            net: Holds the batch's activations.
            holder: Has the gradients.
            batch: The one whose answer has been taken.
        """
        if batch.is_last:
            self.liveness.before_update(net, holder, batch.iteration)
            self.half.update(holder)
            self.liveness.after_update(batch.iteration)

    def note_residual(self, net: NetDriver, z: dict[str, np.ndarray]) -> None:
        """Measure how far x is from its target, if the convergence criterion asks."""
        if self.wants_residual:
            self.session.residual = max(
                relative_residual(net.data(self.compared[wire]), z[wire]) for wire in z
            )

    def send_output(self, net: NetDriver, stage: str, batch: MicroBatch) -> None:
        """x goes up: net2's answer is a point near it."""
        outputs = {wire: net.data(blob) for wire, blob in self.compared.items()}
        self.channel.send(Message(batch.stage(stage), batch.iteration, outputs))

    def norms(self, net: NetDriver) -> dict[str, float]:
        """Mean length per sample of what is compared: the thesis's collapse shows here."""
        blobs = [blob for pair in self.compared.items() for blob in reversed(pair)]
        return {f"{blob}_norm": net.length(blob) for blob in blobs}


class ByLoss(_Learning):
    """A loss on (x, target): targets `activation`, `updated`, `gradient`, `prox`."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        self.sends_output = half.config.coupling.target == "prox"
        #: Where answers come late, what lies beyond the cut is computed once they are there, with
        #: the weights of then: conv3p, its counterpart, has seen more updates than the batch.
        self.is_put_off = half.config.train.batches_ahead > 0 and not self.sends_output
        self.is_frozen = half.resolved.is_frozen
        train = half.resolved.train
        self.losses = [
            train.place(loss_layer(train, blob, wire)) for wire, blob in self.compared.items()
        ]
        #: Where the layers begin that need the answer.
        self.first_loss = min(self.losses)
        self.last_output = half.train.layer_before(self.first_loss)

    @property
    def last_kept(self) -> Optional[int]:
        return self.cut_layer if self.is_put_off else self.last_output

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        if self.is_put_off:
            return 0.0
        loss = self.forward_dual(net)
        if self.sends_output:
            self.send_output(net, "x", batch)
        return loss

    def forward_dual(self, net: NetDriver) -> float:
        """Run the layers between the cut and the loss."""
        after = net.layer_after(self.cut_layer)
        return 0.0 if after == self.first_loss else net.forward(after, self.last_output)

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        answer = self.receive("down", batch)
        if self.is_put_off:
            self.half.seed(batch.number)
            loss += self.forward_dual(net)
        self.note_residual(net, answer)
        net.feed(answer)
        # As large as conv3p, and the backward pass is where memory peaks.
        del answer
        loss += net.forward(self.first_loss)
        is_due = self.meter.is_due(batch.iteration)
        self.show(batch, loss, lambda: self.norms(net), is_due, net.outputs)
        if self.is_frozen:
            if batch.is_last:
                self.liveness.before_update(net, net, batch.iteration)
                self.liveness.after_update(batch.iteration)
            return
        self.meter.measure(net, batch.is_first)
        net.backward()
        holder = self.holder(net, batch)
        if batch.is_last:
            self.meter.compare(holder, self.session.show_series)
        self.update(net, holder, batch)


class ByAlternation(ByLoss):
    """The augmented Lagrangian (5.5) on (x, z): target `admm`, see dualnet/coupling/admm.py."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        self.multipliers = Multipliers()
        self.sources = sources(half.resolved.train)

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        loss = super().begin(net, batch)
        self.send_output(net, "x00", batch)
        return loss

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        coupling = self.half.config.coupling
        self.multipliers.reset()
        series: dict[str, float] = {}
        is_measured = self.meter.is_due(batch.iteration)
        for number in range(coupling.alternations):
            beta = penalty(coupling, number)
            z = self.receive(f"down{number:02d}", batch)
            self.note_residual(net, z)
            lagrangian = self.lagrangian(net, z, beta)
            if number == 0:
                self.show(batch, loss + lagrangian, lambda: self.norms(net), is_measured)
            is_last = number == coupling.alternations - 1
            if is_last:
                self.meter.measure(net, batch.is_first)
            net.backward()
            if is_last:
                self.meter.compare(net, self.session.show_series)
            x = {wire: net.data(blob) for wire, blob in self.compared.items()}
            self.multipliers.ascend(x, z, beta)
            if number == 0:
                series["first_residual"] = self.multipliers.primal_residual
            self.update(net, net, batch)
            if not is_last:
                self.forward_again(net, batch)
                self.send_output(net, f"x{number + 1:02d}", batch)
        series["primal_residual"] = self.multipliers.primal_residual
        series["dual_residual"] = self.multipliers.dual_residual
        self.session.show_series(series)

    def lagrangian(self, net: NetDriver, z: dict[str, np.ndarray], beta: float) -> float:
        """(5.5) without net2's loss, mean over the samples; leaves its gradient to `backward`."""
        net.feed(self.multipliers.shifted(z, beta))
        for loss in self.losses:
            net.set_loss_weight(loss, beta)
        return net.forward(self.first_loss) + self.multipliers.offset(beta)

    def forward_again(self, net: NetDriver, batch: MicroBatch) -> None:
        """The same batch through the changed weights, with the same dropout."""
        self.half.seed(batch.number)
        net.forward_without(self.sources, self.last_output)


class ByGradient(_Learning):
    """dL/dp itself, as plain model parallelism has it: the control `backprop`."""

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        arrays = self.receive("down", batch)
        loss += float(arrays.pop("loss")[0])
        # net2's loss: the layers beyond the cut, and net1's own loss among them, are not run.
        self.show(batch, loss, outputs=lambda: [("loss", np.array([loss]), 1.0)])
        net.backward_from(arrays)
        self.update(net, self.holder(net, batch), batch)


class ByNothing(_Learning):
    """net1 keeps its random weights: the control `frozen`, the thesis's missing loss_weight."""

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> None:
        # The answer keeps net1 from running ahead, and says how it goes.
        loss += float(self.receive("down", batch)["loss"][0])
        # net2's loss: the layers beyond the cut, and net1's own loss among them, are not run.
        self.show(batch, loss, outputs=lambda: [("loss", np.array([loss]), 1.0)])


def make_learning(half: Half, channel: Channel, session: Session) -> Any:
    """The way that `coupling.target` asks for."""
    kinds = {"admm": ByAlternation, "backprop": ByGradient, "frozen": ByNothing}
    return kinds.get(half.config.coupling.target, ByLoss)(half, channel, session)
