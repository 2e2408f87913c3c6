"""Base of all carriers: one end of a link in the run directory, with its record and message files.

All of that is files in the link's folder, whatever carries the messages. A carrier derives from
`End`, connects to the neighbour, and hands messages over.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from dualnet.errors import UsageError
from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.codec import Codec
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.publish import make_folder, remove_temporaries
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.neighbour import Neighbour
from dualnet.exchange.files.outbox import Outbox, check_size
from dualnet.exchange.files.retention import CheckpointMark, RetainedMessages
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.watch import FailureDetector, Watched
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["End"]


class End(Channel):
    """What the ends of all carriers have in common.

    Whoever derives from it makes what else it needs, then calls `_open`.

    Args:
        membership: this process in its run.
        link: the link; this piece is at one of its ends.
        settings: timeouts, retention, digest and dtypes.

    Raises:
        UsageError: this piece is at neither end, or has opened the link already.
        StorageFailed: the link's folder cannot be used.
    """

    def __init__(self, membership: Membership, link: Link, settings: ExchangeSettings) -> None:
        membership.check_new(link)
        self.link, self.piece = link, membership.piece
        self.neighbour = link.other(membership.piece)
        self.counters = Counters()
        self.membership: Membership = membership
        self._settings = settings
        self._fs = fs = membership.fs
        self._paths = paths = membership.paths.link(link)
        self._manifest = membership.manifest
        self._codec = Codec.of(settings)
        self._storage = Storage(
            fs, paths.root, settings.storage_timeout_s, self.counters,
            membership.heartbeat.set_state,
        )  # fmt: skip
        self._storage.attempt("make", paths.root, partial(make_folder, fs, paths.root))
        self._hasher = Hasher(settings.hash_threads, settings.digest)
        self._retained = RetainedMessages(fs, paths, settings.disk_budget_bytes)
        self._outbox = Outbox(membership, link, self._storage, self._hasher, self._retained)
        self._marks: deque[CheckpointMark] = deque()

    def _open(self) -> None:
        """Write the status record, connect, and join the membership; what fails is undone."""
        piece, epoch, paths = self.piece, self.epoch, self._paths
        try:
            self._storage.attempt(
                "list", paths.root, lambda: remove_temporaries(self._fs, paths, piece, epoch)
            )
            self._outbox.begin()
            self._connect()
            self.membership.add(self)
        except BaseException as error:
            self.disconnect(f"failed: {' '.join(str(error).split())}")
            raise

    @property
    def epoch(self) -> int:
        """How many times this piece has been started in this run."""
        return self.membership.epoch

    # Messages.

    def send(self, message: Message) -> None:
        """See `Messages.send`."""
        self._begin()
        coded = self._codec.encode(message)
        layout = MessageLayout.of(coded)
        check_size(layout, self._settings.max_message_bytes)
        self.membership.check_lease()
        self._send(coded, layout)
        self._codec.sent()
        counters = self.counters
        counters.bytes_sent += layout.nbytes
        counters.saved_sent += message.nbytes - layout.nbytes
        counters.messages_sent += 1

    def receive(self, kind: str, iteration: int) -> Message:
        """See `Messages.receive`."""
        self._begin()
        with self._waiting_for(f"{kind} {iteration}"):
            coded = self._receive(kind, iteration)
        message = self._codec.decode(coded, self.neighbour)
        counters = self.counters
        counters.bytes_received += coded.nbytes
        counters.saved_received += message.nbytes - coded.nbytes
        counters.messages_received += 1
        return message

    def _begin(self) -> None:
        """Before the first message or checkpoint: start from nothing unless `resume` was called."""
        self.membership.check_open()
        if self._outbox.record.base < 0:
            self.resume(0, 0)

    # Restart.

    def state(self) -> dict[str, np.ndarray]:
        """See `Restart.state`."""
        return self._codec.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Restart.restore`."""
        self._codec.restore(state)

    def resume(self, seq_sent: int, seq_received: int) -> None:
        """See `Restart.resume`."""
        self.membership.check_open()
        if self._outbox.record.base >= 0:
            raise UsageError("resume: too late, messages were sent or received already")
        self._outbox.find_recorded()
        self._check_resume(seq_received)
        self._outbox.update(base=seq_sent, seq=seq_sent, received=seq_received)
        self.membership.count(self.link, seq_sent, seq_received)
        self._resume(seq_sent, seq_received)

    def checkpoint_passed(self, iteration: int) -> None:
        """See `Restart.checkpoint_passed`."""
        self._begin()
        self._marks.append(CheckpointMark(iteration, self.seq_sent, self.seq_received))
        while len(self._marks) > max(self._settings.retain, 1):
            self._marks.popleft()
        changes: dict[str, Any] = {"checkpoint": iteration, "received": self.seq_received}
        if len(self._marks) >= self._settings.retain:
            oldest = self._marks[0]
            changes.update(checkpointed_sent=oldest.sent, checkpointed_received=oldest.received)
            self._acknowledge(oldest)
        self._outbox.update(**changes)
        self._delete()

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Restart.reserve`; with a codec it is what float32 would take, which is the most."""
        nbytes = iteration_bytes * iterations * max(self._settings.retain, 1)
        self._storage.attempt(
            "inspect", self._paths.root, lambda: self._retained.check_disk(nbytes)
        )
        self._retained.check_room(nbytes)

    # The end.

    def drain(self) -> None:
        """See `Channel.drain`."""
        if self.seq_sent > max(self._outbox.record.base, 0):
            with self._waiting_for(f"{self.neighbour} to read the rest"):
                self._drain()
            self._delete()

    def disconnect(self, state: str) -> None:
        """Close the connection; `state` is the final state. Called by the membership."""
        try:
            self._disconnect(state)
        finally:
            self._hasher.close()

    @contextmanager
    def _waiting_for(self, awaited: str) -> Iterator[None]:
        """Show what is waited for: here, and in the heartbeat from whom."""
        self.awaited = awaited
        try:
            with self.membership.waiting_for(self.neighbour):
                yield
        finally:
            self.awaited = ""

    def _detector(self, neighbour: Watched, what: str, where: str = "") -> FailureDetector:
        """The failure detector of one wait.

        Args:
            neighbour: whom to watch.
            what: what is waited for, for messages.
            where: the place to name in messages; default: the link's folder.
        """
        membership = self.membership
        return FailureDetector(
            self._fs, neighbour, self.piece, membership.process, self._settings,
            where or self._paths.root, what,
        )  # fmt: skip

    def _left(self, neighbour: Watched) -> str:
        """Why the neighbour does not run; "" if it does, or if that is unknown."""
        pulse, process = neighbour.pulse(), neighbour.process()
        if pulse is not None and pulse.ended:
            return pulse.state
        is_dead = process is not None and process.alive(self.membership.process) is False
        return "it was killed" if is_dead else ""

    def _files_of(self, piece: str) -> Neighbour:
        """What a piece of this link has published, this one included."""
        return Neighbour(self.membership, self.link, piece)

    # What each carrier has of its own.

    @abstractmethod
    def _send(self, message: Message, layout: MessageLayout) -> None:
        """Send the next message."""

    @abstractmethod
    def _receive(self, kind: str, iteration: int) -> Message:
        """Wait for the next message and verify it."""

    @abstractmethod
    def _check_resume(self, seq_received: int) -> None:
        """Raise DamagedMessage where a message after number `seq_received` is known to be gone."""

    @abstractmethod
    def _resume(self, seq_sent: int, seq_received: int) -> None:
        """Continue from these counts, which the record has by now."""

    @abstractmethod
    def _drain(self) -> None:
        """Wait until the neighbour has received all that was sent."""

    @abstractmethod
    def _delete(self) -> None:
        """Delete messages that nobody can need any more."""

    @abstractmethod
    def housekeeping(self) -> None:
        """Answer the neighbour's requests and delete what nobody needs; called in each wait."""

    def _connect(self) -> None:
        """Connect to the neighbour."""

    def _disconnect(self, state: str) -> None:
        """Close the connection; `state` is the final state."""

    def _acknowledge(self, oldest: CheckpointMark) -> None:
        """Tell the neighbour which of our messages and checkpoints it may forget.

        The files carrier does nothing: its neighbour reads the status record.

        Args:
            oldest: the oldest checkpoint that is retained.
        """
