"""The exchange by files in a shared directory (docs/explanation/exchange.md has the protocol)."""

from __future__ import annotations

from typing import Any

from dualnet.errors import DamagedMessage
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.files.delivery import Delivery
from dualnet.exchange.files.end import End
from dualnet.exchange.files.hello import read_hello, seal_hello
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.retention import find_messages, message_bytes
from dualnet.exchange.files.waiting import Waiting
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.watch import FailureDetector
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["FileChannel"]

# Outside of waits: time between two reads of what the neighbour asks for and has read.
_POLL_S = 0.2


class FileChannel(End):
    """One end of a link whose messages are files.

    Args:
        membership: this process in its run.
        link: the link; this piece is at one of its ends.
        settings: timeouts, retention, digest and dtypes.

    Raises:
        UsageError: this piece is at neither end.
        StorageFailed: the link's folder cannot be used.
    """

    def __init__(self, membership: Membership, link: Link, settings: ExchangeSettings) -> None:
        super().__init__(membership, link, settings)
        self._neighbour = self._files_of(self.neighbour)
        self._waiting = Waiting(membership, self._storage, self._paths.root, self.counters)
        self._delivery = Delivery(
            self._paths.root,
            Inbox(membership, link, self._hasher, self._neighbour, settings),
            self._neighbour,
            self._storage,
            self._waiting,
            self.counters,
            settings,
            self._watch,
            lambda seq: self._outbox.update(want=seq),
        )
        self._received = 0
        self._answered = (0, 0)
        self._polled_s = -float("inf")
        self._open()

    @property
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts."""
        return self._outbox.record.seq

    @property
    def seq_received(self) -> int:
        """Messages received, counted over all restarts."""
        return self._received

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """See `Channel.handshake`."""
        self.membership.check_open()
        content = seal_hello(self._manifest, self.link, self.piece, self.epoch, hello)
        path = self._paths.hello(self.piece, self.epoch)
        publisher = Publisher(self._fs, self._paths, self.piece, self.epoch)
        self._storage.attempt("write", path, lambda: publisher.replace(path, content, True))
        self._outbox.update(hello=True)
        first_epoch: int | None = None
        detector = self._watch("handshake")

        def poll() -> dict[str, Any] | None:
            nonlocal first_epoch
            found = self._neighbour.poll()
            if first_epoch is None:
                first_epoch = detector.initial_epoch = self._neighbour.epoch
            if found is None or not found.hello:
                return None
            # A hello that already existed at our start may come from a dead process: accept it only
            # if that process is alive now.
            if self._neighbour.epoch == first_epoch and not detector.check_alive():
                return None
            return read_hello(
                self._fs, self._paths, self._manifest, self.neighbour, self._neighbour.epoch
            )

        self.membership.heartbeat.beat_fast(True)
        try:
            with self._waiting_for("the handshake"):
                return self._waiting.until(poll, detector)
        finally:
            self.membership.heartbeat.beat_fast(False)

    def neighbour_left(self) -> str:
        """See `Channel.neighbour_left`."""
        self._storage.attempt("read", self._paths.root, self._neighbour.poll)
        return self._left(self._neighbour) if self._neighbour.epoch else ""

    # See `End`.

    def _check_resume(self, seq_received: int) -> None:
        root = self._paths.root
        found = self._storage.attempt("read", root, self._neighbour.poll)
        there = self._storage.attempt(
            "list", root, lambda: find_messages(self._fs, self._paths, self.neighbour)
        )
        following = seq_received + 1
        if found is not None and found.seq >= following and following not in there:
            # If this process was suspended and replaced, its successor may have caused the
            # deletion: raise Superseded rather than DamagedMessage.
            self.membership.check_lease(now=True)
            raise DamagedMessage(
                f"message {following} of {self.neighbour} was deleted, {self.piece} would need it "
                f"to continue from {seq_received}; stop all pieces and start them again: they go "
                f"back together to a checkpoint that all have"
            )

    def _resume(self, seq_sent: int, seq_received: int) -> None:
        self._received = seq_received

    def _send(self, message: Message, layout: MessageLayout) -> None:
        # One that is sent again takes the place of what an earlier start has left.
        before = self._retained.bytes_of(self.seq_sent + 1)
        self._make_room(max(0, message_bytes(layout.nbytes, len(layout.arrays)) - before))
        started_s = self._fs.monotonic()
        self._outbox.send(message, layout, self._received)
        self.counters.exchange_s += self._fs.monotonic() - started_s
        self.counters.replays_verified = self._outbox.replays_verified
        self.membership.count(self.link, self.seq_sent, self._received)
        self._poll_if_due()

    def _receive(self, kind: str, iteration: int) -> Message:
        seq = self._received + 1
        message = self._delivery.fetch(seq, kind, iteration)
        self._received = seq
        self._neighbour.forget_through(seq)
        self.membership.count(self.link, self.seq_sent, seq)
        return message

    def _drain(self) -> None:
        """Wait until the neighbour has read every message; until then it may request a resend."""
        self.membership.heartbeat.beat()  # the neighbour, too, may be waiting for our count

        def poll() -> bool | None:
            record = self._neighbour.poll()
            pulse = self._neighbour.pulse()
            has_all = record is not None and self._neighbour_has() >= self.seq_sent
            return True if has_all or (pulse is not None and pulse.state == "done") else None

        self._waiting.until(poll, self._watch("the end"))

    # Housekeeping during send and wait.

    def housekeeping(self) -> None:
        """See `End.housekeeping`; the neighbour's record is read at most five times a second.

        Raises:
            StorageFailed: the folder could not be read, or a resend written, for too long.
        """
        self._answer_resend_request()
        self._poll_if_due()

    def _poll_if_due(self) -> None:
        """Read the neighbour's record, answer its resend request, delete what is not needed.

        Raises:
            StorageFailed: as `housekeeping`.
        """
        now_s = self._fs.monotonic()
        if now_s - self._polled_s >= _POLL_S:
            self._polled_s = now_s
            self._storage.attempt("read", self._paths.root, self._neighbour.poll)
            self._answer_resend_request()
            self._delete()

    def _answer_resend_request(self) -> None:
        """Resend a message that arrived damaged, once for each request."""
        record = self._neighbour.latest
        if record is not None and record.want and (record.epoch, record.want) != self._answered:
            self._answered = (record.epoch, record.want)
            if self._outbox.resend(record.want):
                self.counters.resends += 1

    def _watch(self, what: str) -> FailureDetector:
        """The failure detector of one wait for `what`, with timers that start now."""
        return self._detector(self._neighbour, what)

    def _make_room(self, nbytes: int) -> None:
        """Make room for `nbytes` within `disk_budget_bytes`.

        With `retain` 0, wait until the neighbour has read older messages.

        Raises:
            StorageFailed: there is none.
        """
        if self._retained.fits(nbytes):
            return

        def poll() -> bool | None:
            self._neighbour.poll()
            self._delete()
            return True if self._retained.fits(nbytes) else None

        if self._settings.retain == 0 and nbytes <= self._settings.disk_budget_bytes:
            # The neighbour reads more slowly than we write, and each message read makes room.
            with self._waiting_for(f"{self.neighbour} to make room"):
                self._waiting.until(poll, self._watch("room for the next message"))
        elif not self._storage.attempt("read", self._paths.root, poll):
            self._retained.check_room(nbytes)

    def _neighbour_has(self) -> int:
        """How many of our messages the neighbour has read, as far as its files show; 0 is none.

        The larger of two counts: that of its status record as last polled, which it writes when it
        sends and at checkpoints, and that of its heartbeat, which is read now.
        """
        record, pulse = self._neighbour.latest, self._neighbour.pulse()
        recorded = record.received if record is not None else 0
        return max(recorded, pulse.counts(self.link.name)[1] if pulse is not None else 0)

    def _delete(self) -> None:
        record = self._neighbour.latest
        if record is None:
            return
        if self._settings.retain:
            through = min(self._outbox.record.checkpointed_sent, record.checkpointed_received)
        else:
            through = self._neighbour_has()
        self._outbox.delete_through(through)
