"""Membership: one process in a run, with its lease, its heartbeat, and the ends of its links.

    with Membership("net2", run_dir, settings, identity) as membership:
        below = open_link("files", membership, Link("net1", "net2"), settings)
        above = open_link("files", membership, Link("net2", "net3"), settings)
        ...

It is made once a process however many links that has, none included. Leaving the `with` block
closes the ends and then writes the final state into the heartbeat: "done", which first waits until
the neighbours have read everything, or "failed: …", whose words the neighbours' errors repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Callable, Protocol

from dualnet.errors import UsageError
from dualnet.exchange.channel import Counters, Presence
from dualnet.exchange.disk.mounts import policy_for
from dualnet.exchange.disk.publish import remove_temporaries
from dualnet.exchange.disk.storage import Storage, wait_for_room
from dualnet.exchange.link import Link, check_piece
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import Lease, NodeLock
from dualnet.exchange.run.manifest import join_run
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["LinkEnd", "Membership"]

LOGGER = logging.getLogger(__name__)


class LinkEnd(Protocol):
    """What a membership has to know of the end of a link."""

    link: Link

    def housekeeping(self) -> None:
        """Answer the neighbour's requests and delete what nobody needs; called in each wait."""

    def drain(self) -> None:
        """Wait until the neighbour has received everything."""

    def disconnect(self, state: str) -> None:
        """Close the connection; `state` is the final state."""


class Membership(Presence):
    """One process in a run; making one joins the run and takes the piece.

    Args:
        piece: "net1", "net2", …
        run_dir: an existing folder; the files go to its "exchange".
        settings: timeouts and file-system options.
        identity: JSON-able; what all pieces must agree on, for example the configuration's hash.
        fs: all I/O on files, and the clock.
        process: identity of this process.
        beat: start the heartbeat thread; tests with a fake clock pass False and beat themselves.

    Attributes:
        epoch: how many times this piece has been started in this run.
        run_id: the run's id in hex.
        paths, manifest, policy, process, fs, heartbeat: see their classes.

    Raises:
        UsageError: no such piece or folder.
        ManifestMismatch: the directory holds another run, or one of another version.
        Superseded: the piece is taken.
        StorageFailed: the directory cannot be used.
    """

    def __init__(
        self,
        piece: str,
        run_dir: str,
        settings: ExchangeSettings,
        identity: dict[str, Any],
        fs: Fs | None = None,
        process: ProcessId | None = None,
        beat: bool = True,
    ) -> None:
        self.piece = check_piece(piece)
        self.on_wait: Callable[[], None] | None = None
        self.fs = fs = fs or Fs()
        self.paths = paths = RunPaths.of_run(run_dir)
        self.process = process or ProcessId.current()
        self.policy = policy_for(run_dir, settings)
        self._ends: list[LinkEnd] = []
        self._closed = False
        room = partial(wait_for_room, timeout_s=settings.storage_timeout_s, fs=fs)
        self.manifest = manifest = room(
            lambda: join_run(fs, paths, piece, {**identity, "digest": settings.digest})
        )
        self.run_id = manifest.run_id.hex()
        self._lock = room(lambda: NodeLock(fs, settings.lock_dir, self.run_id, piece))
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            self._lease = room(
                lambda: Lease.take(
                    fs, paths, manifest, piece, self.process, settings.dead_after_s, LOGGER.info
                )
            )
            self.epoch = epoch = self._lease.epoch
            self.heartbeat = Heartbeat(
                fs, paths.heartbeat(piece, epoch), manifest.key, Pulse(self.run_id, piece, epoch),
                settings.beat_s, self.policy.network,
            )  # fmt: skip
            undo.pop_all()
        try:
            storage = Storage(
                fs, paths.root, settings.storage_timeout_s, Counters(), self.heartbeat.set_state
            )
            storage.attempt("list", paths.root, lambda: remove_temporaries(fs, paths, piece, epoch))
            self.heartbeat.set_state("running", now=True)
            if beat:
                self.heartbeat.start()
        except BaseException as error:
            self.close(f"failed: {error}")
            raise

    # For the ends of its links.

    @property
    def waits_for(self) -> str:
        """The piece that the present call waits for; shown in the heartbeat."""
        return self.heartbeat.pulse.waits_for

    def check_open(self) -> None:
        """Refuse what comes after `close`.

        Raises:
            UsageError: it is closed.
        """
        if self._closed:
            raise UsageError(f"membership of {self.piece}: closed already")

    def check_new(self, link: Link) -> None:
        """Refuse a second end of a link, before it writes over the first one's record.

        Raises:
            UsageError: the link is open, or the membership is closed.
        """
        self.check_open()
        if any(link == end.link for end in self._ends):
            raise UsageError(f"link {link.name}: {self.piece} has opened it already")

    def check_lease(self, now: bool = False) -> None:
        """Check, at most once a second, that no other process has taken over this piece.

        Raises:
            Superseded: one has.
            StorageFailed: the directory was removed.
        """
        self._lease.check(now)

    def add(self, end: LinkEnd) -> None:
        """Take the end of a link: it is attended to in each wait, and closed with the membership.

        Its status record must have been written: from this heartbeat on, neighbours read it.
        """
        self._ends.append(end)
        self.heartbeat.count(end.link.name, 0, 0)
        self.heartbeat.beat()

    def count(self, link: Link, sent: int, received: int) -> None:
        """Set the message counts of a link in the heartbeat; counts as progress."""
        self.heartbeat.count(link.name, sent, received)

    @contextmanager
    def waiting_for(self, piece: str) -> Iterator[None]:
        """Show in the heartbeat that a neighbour is waited for."""
        self.heartbeat.wait_for(piece)
        try:
            yield
        finally:
            self.heartbeat.wait_for("")

    def attend(self) -> None:
        """Housekeeping of all links; called again and again while one of them waits.

        Raises:
            Superseded, StorageFailed: the lease is lost.
            DualnetError: what ended another link.
        """
        self.check_lease()
        for end in self._ends:
            end.housekeeping()
        if self.on_wait is not None:
            self.on_wait()

    # For whoever trains.

    def progress(self) -> None:
        """See `Presence.progress`."""
        self.check_lease()
        self.heartbeat.progress()
        for end in self._ends:
            end.housekeeping()

    def report(self, state: str) -> None:
        """See `Presence.report`."""
        if not self._closed:  # nothing may overwrite the final state
            self.heartbeat.set_state(state, now=True)

    def drain(self) -> None:
        """See `Presence.drain`."""
        self.check_open()
        for end in self._ends:
            end.drain()

    def close(self, state: str = "done", wait: bool = True) -> None:
        """See `Presence.close`."""
        if self._closed:
            return
        try:
            if state == "done" and wait:
                self.drain()
        except Exception as error:
            state = f"failed: {type(error).__name__}: {error}"
            raise
        except BaseException:
            state = "stopped"  # by a signal, while it waited
            raise
        finally:
            self._closed = True
            with ExitStack() as last:
                last.callback(self._lock.release)
                last.callback(lambda: self.heartbeat.close(state))
                for end in self._ends:
                    last.callback(end.disconnect, state)

    def __enter__(self) -> Membership:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close("done")
        else:
            self.close(f"failed: {type(error).__name__}: {error}")
