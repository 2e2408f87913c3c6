"""One half as a member of a run: its role taken, its heart beating, its messages kept.

All of that is files in the run's directory, whatever carries the messages. A carrier is a `Member`
that also connects to the other half, and hands messages over.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from functools import partial
from typing import Any

from dualnet.errors import UsageError
from dualnet.exchange.channel import PARTNER, Channel, Counters
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.mounts import care_for
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.disk.storage import Storage, wait_for_room
from dualnet.exchange.files.outbox import Outbox
from dualnet.exchange.files.retention import Kept, Passage, remove_temporaries
from dualnet.exchange.files.status_record import StageRecord
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import Lease, NodeLock
from dualnet.exchange.run.manifest import join_run
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["Member"]

LOGGER = logging.getLogger(__name__)


class Member(Channel):
    """What the ends of all carriers have in common; making one joins the run and takes the role.

    Whoever derives from it makes what else it needs, then calls `_open`.

    Args:
        role: "net1" or "net2".
        run_dir: an existing folder; the files go to its "exchange".
        settings: waits and care.
        identity: JSON-able; what both halves must agree on.
        fs: all I/O on files, and the clock.
        process: who we are.

    Raises:
        UsageError: no such role or folder.
        ManifestMismatch: the directory holds another run.
        Superseded: the role is taken.
        StorageFailed: the directory cannot be used.
    """

    def __init__(
        self,
        role: str,
        run_dir: str,
        settings: ExchangeSettings,
        identity: dict[str, Any],
        fs: Fs | None = None,
        process: ProcessId | None = None,
    ) -> None:
        if role not in PARTNER:
            raise UsageError(f"role {role!r}: expected one of {', '.join(PARTNER)}")
        self.role, self.partner = role, PARTNER[role]
        self.counters = Counters()
        self._settings = settings
        self._fs = fs = fs or Fs()
        self._paths = paths = ExchangePaths.of_run(run_dir)
        self._process = process or ProcessId.current()
        self._care = care_for(run_dir, settings)
        room = partial(wait_for_room, timeout_s=settings.storage_timeout_s, fs=fs)
        self._manifest = manifest = room(
            lambda: join_run(fs, paths, role, {**identity, "digest": settings.digest})
        )
        run = manifest.run_id.hex()
        self._lock = room(lambda: NodeLock(fs, settings.lock_dir, run, role))
        try:
            self._lease = room(
                lambda: Lease.take(
                    fs, paths, manifest, role, self._process, settings.dead_after_s, LOGGER.info
                )
            )
        except BaseException:
            self._lock.release()
            raise
        epoch = self._lease.epoch
        self._heartbeat = Heartbeat(
            fs, paths.heartbeat(role, epoch), manifest.key, Pulse(run, role, epoch),
            settings.beat_s, self._care.network,
        )  # fmt: skip
        self._storage = Storage(
            fs, paths.root, settings.storage_timeout_s, self.counters, self._heartbeat.set_state
        )
        self._hasher = Hasher(settings.hash_threads, settings.digest)
        self._kept = Kept(fs, paths, settings.disk_budget_bytes)
        self._outbox = Outbox(
            fs, paths, manifest, Publisher(fs, paths, role, epoch), self._storage, self._hasher,
            StageRecord(run, role, epoch), self._kept, self._care.network,
        )  # fmt: skip
        self._passages: deque[Passage] = deque()
        self._closed = False

    def _open(self, beat: bool = True) -> None:
        """Show that this half is there, and connect; what fails takes it out of the run again.

        Args:
            beat: beat from a thread; tests that own the clock beat themselves.
        """
        fs, paths, role, epoch = self._fs, self._paths, self.role, self.epoch
        try:
            self._storage.attempt(
                "list", paths.root, lambda: remove_temporaries(fs, paths, role, epoch)
            )
            self._heartbeat.set_state("running", now=True)
            if beat:
                self._heartbeat.start()
            self._connect()
        except BaseException as error:
            self.close(f"failed: {error}")
            raise

    @property
    def epoch(self) -> int:
        """How many times this role has been started in this run."""
        return self._lease.epoch

    def checkpoint_passed(self, iteration: int) -> None:
        """See `Channel.checkpoint_passed`."""
        self._begin()
        self._passages.append(Passage(iteration, self.seq_sent, self.seq_received))
        while len(self._passages) > max(self._settings.retain, 1):
            self._passages.popleft()
        changes: dict[str, Any] = {"checkpoint": iteration, "received": self.seq_received}
        if len(self._passages) >= self._settings.retain:
            oldest = self._passages[0]
            changes.update(passed_sent=oldest.sent, passed_received=oldest.received)
            self._tell_passed(oldest)
        self._outbox.update(**changes)
        self._delete()

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Channel.reserve`."""
        kept = iteration_bytes * iterations * max(self._settings.retain, 1)
        self._storage.attempt("look at", self._paths.root, lambda: self._kept.check_disk(kept))
        self._kept.check_room(kept)

    def report(self, state: str) -> None:
        """See `Channel.report`."""
        if not self._closed:  # how it ended is the last word
            self._heartbeat.set_state(state, now=True)

    def drain(self) -> None:
        """See `Channel.drain`."""
        self._check_open()
        self._drain()

    def close(self, state: str = "done", wait: bool = True) -> None:
        """See `Channel.close`."""
        if self._closed:
            return
        try:
            if state == "done" and wait:
                self._drain()
        except Exception as error:
            state = f"failed: {type(error).__name__}: {error}"
            raise
        except BaseException:
            state = "stopped"  # by a signal, while it waited
            raise
        finally:
            self._closed = True
            self._disconnect(state)
            self._heartbeat.close(state)
            self._hasher.close()
            self._lock.release()

    def _begin(self) -> None:
        """Before the first message or checkpoint: start from nothing unless told otherwise."""
        self._check_open()
        if self._outbox.record.base < 0:
            self.resume(0, 0)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"channel of {self.role}: closed already")

    # What each carrier has of its own.

    def _connect(self) -> None:
        """Begin to listen to the other half; a directory needs no connection."""

    def _disconnect(self, state: str) -> None:
        """Stop that, and say how this half ended."""

    def _tell_passed(self, oldest: Passage) -> None:
        """Tell the partner what it need not keep; one that reads our record knows it by that.

        Args:
            oldest: the oldest checkpoint that is kept.
        """

    @abstractmethod
    def _drain(self) -> None:
        """Stay until the partner has all that was sent."""

    @abstractmethod
    def _delete(self) -> None:
        """Delete messages that nobody can need any more."""
