"""What a piece does with the piece above: sends batches up, and learns from the answers.

Each rule is a class (steps.py). `begin` does what needs no answer, for a batch that has just gone
up. `learn` takes the answer and runs the net backward; it yields whenever gradients are ready for
an update, and continues after that: once a batch, and with target `admm` once an alternation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, Optional, Protocol

import numpy as np

from dualnet.config import CutEnd
from dualnet.cut.upstream import last_maker
from dualnet.exchange.channel import Message
from dualnet.training.gauge.convergence import relative_residual
from dualnet.training.gauge.fidelity import FidelityMeter
from dualnet.training.gauge.liveness import LivenessCheck
from dualnet.training.loop.messages import CONVERGED, RESIDUAL, Blobs, MessageChannel
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.session import Session
from dualnet.training.net.crossing import batch_of
from dualnet.training.net.driver import NetDriver, Output
from dualnet.training.net.nets import Nets

__all__ = ["Above", "Learning"]


class Learning(Protocol):
    """What the training loop gets its gradients from: the piece above, or the net's own loss."""

    #: Loss of the batch that `learn` has taken: of the labels where it is known, else of the pairs.
    loss: float

    @property
    def cut_layer(self) -> Optional[int]:
        """The last layer that a batch's way up needs; None: all layers."""

    @property
    def last_kept(self) -> Optional[int]:
        """The last layer whose activations `learn` needs; None: those of all layers that ran."""

    def keep(self, arrays: Blobs) -> None:
        """Keep a copy of a batch that came up, if it is needed again after its update."""

    def send(self, net: NetDriver, batch: MicroBatch, residual: Optional[float]) -> None:
        """Send a batch up whose activations `net` has just made."""

    def begin(self, net: NetDriver, batch: MicroBatch) -> float:
        """After sending a batch, do the work on it that needs no answer: the dual layers.

        Returns:
            The loss of the layers that ran: of an auxiliary loss, usually 0.
        """

    def learn(self, net: NetDriver, batch: MicroBatch, loss: float) -> Iterator[NetDriver]:
        """Take a batch's answer; yields the net that has the gradients, before each update."""

    def test(self, iteration: int, number: int) -> None:
        """Run the test net on a test batch, and send or add up its outputs."""


class Above:
    """What the rules share: the lower end of a link.

    Args:
        nets: The piece's nets.
        end: Its end of the cut above.
        channel: Message channel to the piece above.
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
        """See `Learning.last_kept`: here, none after the cut blobs are made."""
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
            # For the convergence criterion: how near the pieces came to their targets last time.
            largest = max(residual or 0.0, self.session.residual)
            arrays[RESIDUAL] = np.array([largest], np.float32)
        self.channel.send(Message(batch.kind("up"), batch.iteration, arrays))

    def test(self, iteration: int, number: int) -> None:
        """Run the test net up to the cut, and send the cut blobs and labels."""
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
            series, is_due, outputs: As of `TrainingLines.show`.
        """
        self.loss = loss
        self.mean = (0.0 if batch.is_first else self.mean) + loss / batch.parts
        if batch.is_last:
            self.session.lines.show(batch.iteration, self.mean, series, is_due, outputs)

    def receive(self, kind: str, batch: MicroBatch) -> Blobs:
        """Wait for the answer of the piece above, and take the extra arrays out of it."""
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
        """RMS norm per sample of the compared blobs, for the log: a collapse shows here."""
        blobs = [blob for pair in self.compared.items() for blob in reversed(pair)]
        return {f"{blob}_norm": net.rms_norm(blob) for blob in blobs}
