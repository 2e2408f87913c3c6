"""How net1 learns from what comes down: steps [3] and [4] of the picture in net1.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.coupling import Multipliers, penalty
from dualnet.cut.below import sources
from dualnet.cut.check import loss_layer
from dualnet.exchange.channel import Channel, Message
from dualnet.train.answer import CONVERGED
from dualnet.train.convergence import relative_residual
from dualnet.train.fidelity import FidelityMeter
from dualnet.train.half import Half
from dualnet.train.liveness import LivenessCheck
from dualnet.train.session import Session

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
        self.net, self.compared = half.train, half.resolved.compared
        self.meter = FidelityMeter(half)
        self.liveness = LivenessCheck(half, session.log)
        #: |x - z| / |x| of the last answer; where nothing is compared, nothing is apart.
        self.residual = 0.0
        self.wants_residual = half.config.convergence.residual is not None

    def learn(self, iteration: int, loss: float) -> None:
        """Take part in an iteration whose cut blobs are on their way to net2.

        Args:
            iteration: Updates done before it.
            loss: Of net1's own losses up to the cut, as of an auxiliary classifier; mostly 0.
        """
        raise NotImplementedError

    def receive(self, stage: str, iteration: int) -> dict[str, np.ndarray]:
        """net2's answer, without what net2 says beside it."""
        arrays = dict(self.channel.receive(stage, iteration).arrays)
        if CONVERGED in arrays:
            del arrays[CONVERGED]
            self.session.end_after(iteration)
        return self.meter.take(arrays)

    def update(self, iteration: int) -> None:
        """Change the weights, under the eyes of the liveness check."""
        self.liveness.before_update(iteration)
        self.half.update()
        self.liveness.after_update(iteration)

    def note_residual(self, z: dict[str, np.ndarray]) -> None:
        """Measure how far x is from its target, if the convergence criterion asks."""
        if self.wants_residual:
            self.residual = max(
                relative_residual(self.net.data(self.compared[wire]), z[wire]) for wire in z
            )

    def send_output(self, stage: str, iteration: int) -> None:
        """x goes up: net2's answer is a point near it."""
        outputs = {wire: self.net.data(blob) for wire, blob in self.compared.items()}
        self.channel.send(Message(stage, iteration, outputs))

    def norms(self) -> dict[str, float]:
        """Mean length per sample of what is compared: the thesis's collapse shows here."""
        blobs = [blob for pair in self.compared.items() for blob in reversed(pair)]
        return {f"{blob}_norm": _length(self.net.data(blob)) for blob in blobs}


class ByLoss(_Learning):
    """A loss on (x, target): targets `activation`, `updated`, `gradient`, `prox`."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        self.sends_output = half.config.coupling.target == "prox"
        self.is_frozen = half.resolved.is_frozen
        train = half.resolved.train
        losses = [loss_layer(train, blob, wire).name for wire, blob in self.compared.items()]
        #: Where the layers begin that need the answer.
        self.first_loss: str = min(losses, key=train.index)
        self.last_output = self.net.layer_before(self.first_loss)
        self.cut_layer = half.resolved.cut_layer(train)

    def learn(self, iteration: int, loss: float) -> None:
        net = self.net
        loss += self.forward_to_loss()
        if self.sends_output:
            self.send_output("x", iteration)
        answer = self.receive("down", iteration)
        self.note_residual(answer)
        net.feed(answer)
        loss += net.forward(self.first_loss)
        self.session.show_training(iteration, loss, self.norms, self.meter.is_due(iteration))
        if self.is_frozen:
            self.liveness.before_update(iteration)
            self.liveness.after_update(iteration)
            return
        self.meter.measure()
        net.backward()
        self.meter.compare(self.session)
        self.update(iteration)

    def forward_to_loss(self) -> float:
        """[3]: the dual layers, while net2 is at work. Returns the loss of what lies among them."""
        after = self.net.layer_after(self.cut_layer)
        return 0.0 if after == self.first_loss else self.net.forward(after, self.last_output)


class ByAlternation(ByLoss):
    """The augmented Lagrangian (5.5) on (x, z): target `admm`, see dualnet/coupling/admm.py."""

    def __init__(self, half: Half, channel: Channel, session: Session) -> None:
        super().__init__(half, channel, session)
        self.multipliers = Multipliers()
        self.sources = sources(half.resolved.train)
        train = half.resolved.train
        self.losses = [loss_layer(train, blob, wire).name for wire, blob in self.compared.items()]

    def learn(self, iteration: int, loss: float) -> None:
        coupling = self.half.config.coupling
        self.multipliers.reset()
        loss += self.forward_to_loss()
        series: dict[str, float] = {}
        is_measured = self.meter.is_due(iteration)
        for number in range(coupling.alternations):
            beta = penalty(coupling, number)
            self.send_output(f"x{number:02d}", iteration)
            z = self.receive(f"down{number:02d}", iteration)
            self.note_residual(z)
            lagrangian = self.lagrangian(z, beta)
            if number == 0:
                loss += lagrangian
                self.session.show_training(iteration, loss, self.norms, is_measured)
            is_last = number == coupling.alternations - 1
            if is_last:
                self.meter.measure()
            self.net.backward()
            if is_last:
                self.meter.compare(self.session)
            x = {wire: self.net.data(blob) for wire, blob in self.compared.items()}
            self.multipliers.ascend(x, z, beta)
            if number == 0:
                series["first_residual"] = self.multipliers.primal_residual
            self.update(iteration)
            if not is_last:
                self.forward_again(iteration)
        series["primal_residual"] = self.multipliers.primal_residual
        series["dual_residual"] = self.multipliers.dual_residual
        self.session.show_series(iteration, series)

    def lagrangian(self, z: dict[str, np.ndarray], beta: float) -> float:
        """(5.5) without net2's loss, mean over the samples; leaves its gradient to `backward`."""
        self.net.feed(self.multipliers.shifted(z, beta))
        for loss in self.losses:
            self.net.set_loss_weight(loss, beta)
        return self.net.forward(self.first_loss) + self.multipliers.offset(beta)

    def forward_again(self, iteration: int) -> None:
        """The same batch through the changed weights, with the same dropout."""
        self.half.seed(iteration)
        self.net.forward_without(self.sources, self.last_output)


class ByGradient(_Learning):
    """dL/dp itself, as plain model parallelism has it: the control `backprop`."""

    def learn(self, iteration: int, loss: float) -> None:
        arrays = self.receive("down", iteration)
        loss += float(arrays.pop("loss")[0])
        self.session.show_training(iteration, loss)
        self.net.backward_from(arrays)
        self.update(iteration)


class ByNothing(_Learning):
    """net1 keeps its random weights: the control `frozen`, the thesis's missing loss_weight."""

    def learn(self, iteration: int, loss: float) -> None:
        # The answer keeps net1 from running ahead, and says how it goes.
        loss += float(self.receive("down", iteration)["loss"][0])
        self.session.show_training(iteration, loss)


def make_learning(half: Half, channel: Channel, session: Session) -> Any:
    """The way that `coupling.target` asks for."""
    kinds = {"admm": ByAlternation, "backprop": ByGradient, "frozen": ByNothing}
    return kinds.get(half.config.coupling.target, ByLoss)(half, channel, session)


def _length(values: np.ndarray) -> float:
    return float(np.sqrt(np.vdot(values, values) / len(values)))
