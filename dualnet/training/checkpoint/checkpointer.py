"""A piece's checkpoints as it trains: written, retried while the disk is full, and restored.

A checkpoint is Caffe's two files (caffe_files.py), the state beside them (extras.py), and the
commit record without which they do not count (commit.py).
"""

from __future__ import annotations

import os
from functools import partial
from typing import Callable

from dualnet.exchange import Counters
from dualnet.exchange.disk.storage import Storage
from dualnet.fs import SYSTEM
from dualnet.process.stopping import Stopper
from dualnet.report.log import CaffeLog
from dualnet.training.checkpoint import caffe_files, commit, extras
from dualnet.training.net.nets import Nets

__all__ = ["Checkpointer"]


class Checkpointer:
    """Writes one piece's checkpoints, and restores one.

    Args:
        nets: Its nets, solver and update rule.
        log: Gets a line for each checkpoint and each disk error.
        exchange: Its links, which may have state of their own.
        stopper: Defers signals while a checkpoint is written.
        report: Publishes "blocked:ENOSPC" and the like, and "running", in the heartbeat and the
            status file.

    Attributes:
        latest: Iteration of the latest that was written or restored; -1 before.
        quiet_storage: Retries while the disk is full or fails, without a line in the log: for the
            log's own lines, and after it is closed.
    """

    def __init__(
        self,
        nets: Nets,
        log: CaffeLog,
        exchange: extras.Stateful,
        stopper: Stopper,
        report: Callable[[str], None],
    ) -> None:
        self.nets, self.log, self.dir = nets, log, nets.resolved.dir
        self.exchange, self.stopper = exchange, stopper
        self.latest = -1
        self._report = report
        self._state = "running"
        timeout_s = nets.config.exchange.storage_timeout_s
        storage = partial(Storage, SYSTEM, self.dir.run.path, timeout_s, Counters())
        self._storage = storage(self._on_blocked)
        self.quiet_storage = storage(report)

    def restore(self, iteration: int, batches: int, progress: Callable[[], None]) -> None:
        """Restore Caffe's files of an iteration, and move the data layers to where they were.

        Args:
            iteration: Updates done.
            batches: Test batches read.
            progress: Called after each batch that is skipped.
        """
        caffe_files.restore(self.nets, iteration, batches, progress, self._report, self.stopper.fs)
        self.latest = iteration
        path = self.dir.at(iteration).state
        # Caffe's words (tools/caffe.cpp); readers of the log drop the lines that come again.
        self.log.info(f"Restoring previous solver status from {path}")

    def restore_extras(self, record: commit.Commit) -> None:
        """Restore the state beside Caffe's files: rounding residuals of the links, momentum.

        A file that the record does not name is no part of the checkpoint.
        """
        files = self.dir.at(record.iteration)
        for kind, owner in self._extras():
            if os.path.basename(files.extras(kind)) in record.files:
                extras.restore(kind, owner, files)

    def write(self, record: commit.Commit) -> None:
        """Write a checkpoint of the current weights, retrying while the disk fails.

        Args:
            record: The commit record; `files` is filled in.

        Raises:
            StorageFailed: It could not be written for `exchange.storage_timeout_s`; those before
                it stand.
        """
        what = f"{self.nets.name}'s checkpoint of iteration {record.iteration} in {self.dir.run}"
        self._storage.attempt("write", what, partial(self._try_to_write, record))

    def mark_complete(self) -> None:
        """Note in the latest checkpoint's record that the run is complete."""
        self.quiet_storage.attempt(
            "write",
            self.dir.at(self.latest).record,
            partial(commit.mark_complete, self.dir, self.latest),
        )

    def stop_retrying(self) -> None:
        """Disable disk retries: a piece that stops does not wait for space."""
        self._storage.timeout_s = self.quiet_storage.timeout_s = 0.0

    def _try_to_write(self, record: commit.Commit) -> None:
        nets, iteration = self.nets, record.iteration
        # Deferred for one attempt only: a signal may end the wait for a full disk.
        with self.stopper.defer_signals():
            paths = caffe_files.save(nets, iteration)
            self.log.snapshot(*paths)
            extra = [
                path
                for kind, owner in self._extras()
                for path in extras.save(kind, owner, self.dir.at(iteration))
            ]
            commit.write(self.dir, record, *paths, *extra)
            commit.prune(self.dir, nets.config.train.keep, iteration)
            self.latest = iteration

    def _extras(self) -> list[tuple[str, extras.Stateful]]:
        """What a checkpoint holds beside Caffe's files."""
        return [("exchange", self.exchange), ("momentum", self.nets.update_rule)]

    def _on_blocked(self, state: str) -> None:
        """Log and publish that the disk refuses a checkpoint, or accepts it again."""
        if state != self._state:
            self._state = state
            if state == "running":
                self.log.info("Writing the checkpoint works again")
            else:
                self.log.warning(f"Cannot write the checkpoint ({state}); trying on")
        self._report(state)
