"""Single training: the uncut net in one process, the control of every dual run."""

from __future__ import annotations

from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Half

__all__ = ["Single"]


class Single:
    """The loop of the single net.

    Args:
        half: The net and its solver.
        session: Iterations, log, tests and snapshots of this run.
    """

    def __init__(self, half: Half, session: Session) -> None:
        self.half, self.session = half, session
        self.iter_size = half.resolved.iter_size

    def run(self) -> None:
        """Train to max_iter."""
        self.session.train(self.step, self.test)

    def step(self, iteration: int) -> None:
        """One update, from `iter_size` batches whose gradients add up."""
        self.session.begun()
        self.half.seed(iteration)
        loss = 0.0
        for _ in range(self.iter_size):
            loss += self.half.train.forward() / self.iter_size
            self.half.train.backward()
        self.session.show_training(iteration, loss)
        self.session.judge(iteration)
        self.half.update()
        self.session.completed(iteration)

    def test(self, iteration: int) -> None:
        """Log the mean of each output over the test batches."""
        self.half.share_weights()
        for _ in range(self.session.test_iter):
            self.half.test.forward()
            self.session.add_test_outputs(self.half.test.outputs())
        self.session.show_test(iteration)
