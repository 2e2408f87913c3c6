"""The training loop of a piece: the only one there is.

A piece may have a neighbour below, from which its batches come, and one above, which answers them.
The single net has neither; the first piece of a chain, with the data, has only the one above; the
last, with the labels' loss, only the one below. One iteration of a chain of two (thesis figure
8.1), alternating, time downwards:

    net1                                   net2
    ----                                   ----
    [1] data ... pool2, forward
        pool2, labels  ----------------->  [1] all layers, forward
    [2] conv3, forward                     [3] loss, backward
        (while net2 is at work)
    [3] conv3p in     <------------------  [4] conv3p out
        loss, backward                     [5] weights updated
    [5] weights updated

A piece in the middle does both: [1] a batch comes up and goes on, [3] its answer comes down, [4] an
answer of its own goes further down. schedule.py says in which order batches go up and answers are
taken. Before a test and before a checkpoint every answer is taken: all pieces are then between the
same two iterations.

With target `gradient` or `backprop` the gradient that a piece gets from above is the one of the
uncut net, and so is, by induction, what it hands further down.
"""

from __future__ import annotations

from typing import Optional

from dualnet.exchange.channel import Message
from dualnet.training.loop.above import Above, Learning
from dualnet.training.loop.activations import make_activation_store
from dualnet.training.loop.below import Below, make_below
from dualnet.training.loop.labels import LabelStep
from dualnet.training.loop.messages import Blobs, MessageChannel
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.schedule import Up, actions, lookahead
from dualnet.training.loop.session import Session
from dualnet.training.loop.steps import make_above
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["PieceLoop"]


class PieceLoop:
    """Trains one piece.

    Args:
        nets: Its nets and solver.
        session: Iterations, log, tests and snapshots of this run.
        below: Message channel to the piece below; None for the piece that has the data.
        above: Message channel to the piece above; None for the piece with the labels' loss.
    """

    def __init__(
        self,
        nets: Nets,
        session: Session,
        below: Optional[MessageChannel] = None,
        above: Optional[MessageChannel] = None,
    ) -> None:
        self.nets, self.session = nets, session
        resolved, train = nets.resolved, nets.config.train
        self.parts = resolved.iter_size
        self.ahead = lookahead(nets.config, nets.name, self.parts)
        self.store = make_activation_store(nets, self.ahead.batches)
        self.above: Optional[Above] = None
        self.below: Optional[Below] = None
        if above is not None and resolved.above is not None:
            self.above = make_above(nets, resolved.above, above, session)
        steps = train.local_steps if below is not None else 1
        self.learning: Learning = self.above or LabelStep(nets, session, steps)
        if below is not None and resolved.below is not None:
            self.below = make_below(nets, resolved.below, below, session, self.true_gradients)
        #: How many batches have been sent up, and the losses so far of those not answered yet.
        self.sent = 0
        self.losses: dict[int, float] = {}

    def run(self) -> None:
        """Train to max_iter."""
        self.sent = self.session.iteration * self.parts
        if not self.session.is_continued:
            self.tie_at_start()
        self.session.train(self.step, self.test)

    def step(self, iteration: int) -> None:
        """One iteration, in the order of the schedule."""
        last = self.session.last_iteration_to_send(iteration, self.ahead.iterations)
        for action in actions(iteration, self.parts, self.sent, self.ahead, last):
            if isinstance(action, Up):
                self.take_up(action.batch)
            else:
                self.take_down(action.batch)
        self.tie_after(iteration)
        self.session.is_ahead = self.sent > (iteration + 1) * self.parts
        self.session.completed(iteration)

    def take_up(self, batch: MicroBatch) -> None:
        """[1] and [2]: the next batch to the cut, and from there what no answer is needed for."""
        arrays: Optional[Blobs] = None
        if self.below is not None:
            arrays = self.below.take(batch)
            self.learning.keep(arrays)
        # Only now: while it waited for the batch, a signal could still have a checkpoint written.
        self.session.begun()
        self.nets.seed(batch.number)
        net, loss = self.store.load(batch.number, self.learning.cut_layer, arrays)
        self.learning.send(net, batch, self.residual)
        self.losses[batch.number] = loss + self.learning.begin(net, batch)
        self.sent = batch.number + 1

    def take_down(self, batch: MicroBatch) -> None:
        """[3] to [5]: learn from the answer to a batch, hand one further down, update."""
        self.session.begun()
        net = self.store.recall(batch.number, self.learning.last_kept)
        is_answered = self.below is None
        for holder in self.learning.learn(net, batch, self.losses.pop(batch.number)):
            is_first_update = not is_answered
            if self.below is not None and not is_answered:
                self.below.answer(net, batch, self.learning.loss)
                is_answered = True
            if batch.is_last:
                self.nets.update(holder)
            if self.below is not None and is_first_update:
                self.below.answer_late(net, batch)
        if self.below is not None and not is_answered:  # nothing is learned here
            self.below.answer(net, batch, self.learning.loss)
            self.below.answer_late(net, batch)

    @property
    def residual(self) -> Optional[float]:
        """The largest |x - z| / |x| of the pieces below; None where there are none that say it."""
        return self.below.residual if self.below is not None else None

    def test(self, iteration: int) -> None:
        """The test batches: through this net, and on to the piece above or into the log."""
        self.nets.share_weights()
        for number in range(self.session.test_iter):
            if self.below is not None:
                self.nets.test.feed(self.below.take_test(iteration, number))
            self.learning.test(iteration, number)
        if self.above is None:
            self.session.show_test(iteration)

    def true_gradients(self, net: NetDriver) -> Blobs:
        """dL/d(cut blob) of the labels' loss at the cut below, by blob; live views."""
        if self.above is not None and self.above.meter.at_inputs:
            return self.above.meter.at_inputs
        blobs = self.nets.resolved.below.cut.blobs if self.nets.resolved.below else []
        return {blob: net.diff(blob) for blob in blobs}

    # Ties of the dual layers (`coupling.tie`).

    def tie_at_start(self) -> None:
        """Both copies of the dual layers begin with the lower piece's weights."""
        if self.above is not None and self.above.coupling.tie != "never":
            weights = self.nets.train.parameters(self.nets.resolved.dual_above)
            self.above.channel.send(Message("tie", 0, weights))
        if self.below is not None and self.below.coupling.tie != "never":
            copies = self.below.end.cut.dual
            for name, values in self.below.channel.receive("tie", 0).arrays.items():
                layer, _, index = name.rpartition(".")
                self.nets.train.set_parameters({f"{copies[layer]}.{index}": values})

    def tie_after(self, iteration: int) -> None:
        """With tie `every` the lower piece takes over the upper one's after each iteration."""
        if self.below is not None and self.below.coupling.tie == "every":
            weights = {
                f"{layer}{name[len(copy) :]}": values
                for layer, copy in self.below.end.cut.dual.items()
                for name, values in self.nets.train.parameters([copy]).items()
            }
            self.below.channel.send(Message("tie", iteration + 1, weights))
        if self.above is not None and self.above.coupling.tie == "every":
            arrays = self.above.channel.receive("tie", iteration + 1).arrays
            self.nets.train.set_parameters(dict(arrays))
