"""What a training loop keeps beside the algorithm: iterations, log, tests, snapshots.

The order of log lines and the meaning of the iteration numbers are Caffe's (solver.cpp): a test at
iteration N is made before update N + 1, and a displayed loss belongs to the weights before the
update.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Callable, Optional

from dualnet.process.stopping import Stopper
from dualnet.report.log import CaffeLog
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.checkpointer import Checkpointer
from dualnet.training.gauge.convergence import has_converged
from dualnet.training.gauge.status_file import StatusFile
from dualnet.training.loop.links import Links
from dualnet.training.loop.output_means import OutputMeans
from dualnet.training.loop.training_lines import TrainingLines
from dualnet.training.net.nets import Nets
from dualnet.training.net.solver_settings import NEVER

__all__ = ["Session"]


class Session:
    """One piece's run.

    A loop calls `begun` before it changes the net and `completed` after the update:

        boundary --begun--> inside an iteration --completed--> boundary

    A checkpoint is possible at a boundary only, and only while no batch is ahead of its answer.
    `begun` may be called several times in an iteration. `train` asks for tests and iterations in
    Caffe's order, up to max_iter.

    Args:
        nets: Nets, solver and update rule of the piece.
        log: The run's log file.
        links: Channels to the neighbours, whose message counts belong in a checkpoint.
        stopper: Knows whether a signal asks to stop.
    """

    def __init__(
        self,
        nets: Nets,
        log: CaffeLog,
        links: Optional[Links] = None,
        stopper: Optional[Stopper] = None,
    ) -> None:
        solver = nets.resolved.solver
        self.nets, self.log, self.dir = nets, log, nets.resolved.dir
        self.links, self.stopper = links or Links(), stopper or Stopper(0.0)
        self.max_iter = nets.resolved.max_iter
        self.test_iter: int = solver.test_iter[0] if solver.test_iter else 0
        self.test_interval: int = solver.test_interval if solver.test_interval != NEVER else 0
        self.test_initialization: bool = solver.test_initialization
        self.snapshot_interval: int = solver.snapshot
        self.lines = TrainingLines(nets, log)
        self.status_file = StatusFile(self.dir, self.max_iter, self.links)
        self.iteration = 0
        self.checkpoints = Checkpointer(nets, log, self.links, self.stopper, self._report)
        log.attempt = partial(self.checkpoints.quiet_storage.attempt, "write", str(log.path))
        #: The run's number, which its checkpoints name (identity.py).
        self.run = ""
        #: How often this piece was started in this run.
        self.epoch = 1
        #: Whether it continues from a checkpoint; what comes before iteration 0 is done then.
        self.is_continued = False
        #: Whether a signal has ended it before max_iter.
        self.is_stopped = False
        #: The latest test's mean outputs by name, for the caller's summary.
        self.test_outputs: dict[str, float] = {}
        #: Called after each iteration with the number completed.
        self.on_progress: Optional[Callable[[int], None]] = None
        #: Called again and again while a message is awaited.
        self.on_wait: Optional[Callable[[], None]] = None
        #: Whether the convergence criterion, and not the solver, has set max_iter.
        self.has_converged = False
        #: |x - z| / |x| of the latest answer; 0 for targets without a comparison.
        self.residual = 0.0
        #: Of the test that is under way.
        self.test_means = OutputMeans()
        #: Messages sent and received over each link at the last boundary; None inside an iteration,
        #: when no checkpoint may be written.
        self._restart_counts: Optional[dict[str, list[int]]] = None
        #: Whether batches are up whose answers are pending; no checkpoint is possible then.
        self.is_ahead = False
        #: The most iterations whose batches are up before the answer to an earlier one is applied.
        self.in_flight = nets.config.batches_ahead(nets.config.names[0])

    def train(self, step: Callable[[int], None], test: Callable[[int], None]) -> None:
        """Make all iterations and tests that are left, up to max_iter.

        Args:
            step: Makes an iteration, given its number; it calls `begun` and ends with `completed`.
            test: Runs the test net, given the number of updates done.

        Raises:
            Stopped: As `completed` does.
            StorageFailed, Superseded: As `snapshot` does.
        """
        for iteration in self.iterations():
            if self.is_test_due(iteration):
                test(iteration)
            step(iteration)
        if self.is_test_due(self.max_iter):
            test(self.max_iter)
        self.finish()

    def iterations(self) -> Iterator[int]:
        """The numbers of the iterations that are left; each has to end with `completed`.

        The final checkpoint is written after the last one, so that no failing test can lose it.
        """
        self.log.solving(self.nets.resolved.net.name)
        self.status_file.begin(self.iteration)
        self._record_counts()
        while self.iteration < self.max_iter:
            yield self.iteration
        if self.checkpoints.latest != self.iteration:
            self.snapshot()

    def last_iteration_to_send(self, iteration: int, staleness: int) -> int:
        """The last iteration whose batches may go up before the answer to `iteration` is applied.

        At most `staleness` ahead, and not past the next test or checkpoint, where no answer may be
        pending.
        """
        last = min(iteration + staleness, self.max_iter - 1)
        for ahead in range(iteration + 1, last + 1):
            is_checkpoint = self.snapshot_interval and ahead % self.snapshot_interval == 0
            if is_checkpoint or self.is_test_due(ahead):
                return ahead - 1
        return last

    def begun(self) -> None:
        """Leave the boundary: from here the net changes, and the iteration has to be completed."""
        self._restart_counts = None

    def completed(self, iteration: int) -> None:
        """The iteration's update is done: count it, and write a checkpoint where one is due.

        Raises:
            Stopped: A signal has asked to stop.
        """
        self.iteration = iteration + 1
        self._record_counts()
        if self.snapshot_interval and self.iteration % self.snapshot_interval == 0:
            self.snapshot()
        if self.on_progress is not None:
            self.on_progress(self.iteration)
        self.status_file.show(self.iteration, self.lines.loss)
        if self.stopper.requested and self.iteration < self.max_iter:
            raise self.stopper.error()

    def finish(self) -> None:
        """The last line of the log."""
        self.log.done(self.iteration)
        self.status_file.show(self.iteration, self.lines.loss, now=True)

    def _record_counts(self) -> None:
        """Note the message counts between two iterations, for a checkpoint there."""
        self._restart_counts = self.links.counts()

    # Checkpoints.

    def restore(self, iteration: int, progress: Callable[[], None] = lambda: None) -> None:
        """Continue from the snapshot of that iteration, with the data that come next.

        Args:
            iteration: Of the snapshot.
            progress: Called again and again while data are passed over.
        """
        tests = sum(map(self.is_test_due, range(iteration)))
        self.checkpoints.restore(iteration, tests * self.test_iter, progress)
        self.iteration = iteration
        self.is_continued = True

    def continue_from(self, found: commit.Commit, progress: Callable[[], None]) -> None:
        """Continue from a checkpoint, to the bit."""
        self.restore(found.iteration, progress)
        self.checkpoints.restore_extras(found)
        self.lines.losses.extend(found.losses)
        self.residual = found.residual
        if found.converged:
            self.end_after((found.last or found.iteration) - 1)

    def snapshot(self) -> None:
        """Write a checkpoint: weights and solver state under the number of completed updates.

        Raises:
            StorageFailed: It could not be written for `exchange.storage_timeout_s`; those before
                it stand, and the same command continues from the last.
            Superseded: Another process has taken over this piece.
        """
        if self._restart_counts is None:
            raise RuntimeError(
                "snapshot() inside an iteration: call it between completed() and the next begun()"
            )
        if not self.is_stopped:
            # One that was suspended and replaced must not write over its successor's files.
            self.links.progress()
        self.checkpoints.write(
            commit.Commit(
                self.nets.name, self.iteration, self.epoch, self._restart_counts,
                list(self.lines.losses), converged=self.has_converged,
                last=self.max_iter if self.has_converged else 0, residual=self.residual,
                run=self.run,
            )
        )  # fmt: skip
        if not self.is_stopped:
            with self.stopper.defer_signals():
                self.links.checkpoint_passed(self.iteration)

    def _report(self, state: str) -> None:
        """Publish why this piece is blocked; not in the log, which may be what is blocked."""
        self.links.report(state)
        self.status_file.show(self.iteration, self.lines.loss, now=True)

    def stop(self) -> bool:
        """End before max_iter, with a checkpoint if no iteration is under way.

        Returns:
            Whether there is one of this very iteration.
        """
        self.is_stopped = True
        self.checkpoints.stop_retrying()
        self.stopper.cancel_deadline()
        is_whole = self._restart_counts is not None and not self.is_ahead
        if is_whole and self.checkpoints.latest != self.iteration:
            self.snapshot()
        self.log.info("Optimization stopped early.")
        self.status_file.show(self.iteration, self.lines.loss, now=True)
        return self.checkpoints.latest == self.iteration

    # Convergence.

    def judge(self, iteration: int, residual: Optional[float] = None) -> None:
        """End after this iteration if the convergence criterion is met.

        Args:
            iteration: Whose loss has just been shown.
            residual: The largest |x - z| / |x| of the pieces below, of the iteration before.
        """
        criterion = self.nets.config.convergence
        if iteration + 1 < self.max_iter and has_converged(criterion, self.lines.losses, residual):
            # The first piece has sent that many iterations' batches ahead; the run ends after them.
            self.end_after(iteration + self.in_flight)

    def end_after(self, iteration: int) -> None:
        """Make this the last iteration: the training has converged."""
        if not self.has_converged and iteration + 1 < self.max_iter:
            self.has_converged, self.max_iter = True, iteration + 1
            self.log.info(f"Converged: iteration {iteration} is the last; loss {self.lines.loss:g}")

    # Tests.

    def is_test_due(self, iteration: int) -> bool:
        """Whether a test comes before this iteration's update, or, at max_iter, at the end."""
        if not self.test_interval:
            return False
        if iteration == self.max_iter:
            return True
        return iteration % self.test_interval == 0 and (iteration > 0 or self.test_initialization)

    def show_test(self, iteration: int) -> None:
        """Log the mean of every output over the test batches."""
        means, weights = self.test_means.take()
        self.log.testing(iteration, means, weights)
        self.test_outputs = {name: float(values[0]) for name, values in means.items()}
