"""The exchange by files in a shared directory (docs/exchange.md has the protocol)."""

from __future__ import annotations

from typing import Any

from dualnet.errors import DamagedMessage, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.files.delivery import Delivery
from dualnet.exchange.files.end import Member
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.neighbour import Partner, Watch
from dualnet.exchange.files.outbox import check_size
from dualnet.exchange.files.retention import find_messages, message_bytes
from dualnet.exchange.files.waiting import Waiting
from dualnet.exchange.run.hello import read_hello, seal_hello
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["FileChannel"]

# While sending without receiving: time between two looks at what the partner needs.
_GLANCE_S = 0.2


class FileChannel(Member):
    """One half's end of an exchange by files; opening it joins the run and takes the role.

    Args:
        role: "net1" or "net2".
        run_dir: an existing folder that both halves see; the files go to its "exchange".
        settings: waits and care.
        identity: JSON-able; what both halves must agree on.
        fs: all I/O and the clock.
        process: who we are.
        beat: beat from a thread; tests that own the clock beat themselves.

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
        beat: bool = True,
    ) -> None:
        super().__init__(role, run_dir, settings, identity, fs, process)
        fs, paths, care = self._fs, self._paths, self._care
        self._partner = Partner(fs, paths, self._manifest, self.partner, care)
        self._waiting = Waiting(
            fs, paths.root, self._storage, self.counters, care.poll_cap_s, self._look_after
        )
        self._delivery = Delivery(
            fs,
            paths.root,
            Inbox(
                fs,
                paths,
                self._manifest,
                self._hasher,
                self._partner,
                settings.verify,
                settings.max_message_bytes,
            ),
            self._partner,
            self._storage,
            self._waiting,
            self.counters,
            settings,
            self._watch,
            lambda seq: self._outbox.update(want=seq),
        )
        self._received = 0
        self._served = (0, 0)
        self._glanced_s = -float("inf")
        self._open(beat)

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
        self._check_open()
        epoch = self.epoch
        content = seal_hello(self._manifest, self.role, epoch, hello)
        path = self._paths.hello(self.role, epoch)
        publisher = Publisher(self._fs, self._paths, self.role, epoch)
        self._storage.attempt("write", path, lambda: publisher.replace(path, content, True))
        self._outbox.update(hello=True)
        first_epoch: int | None = None
        watch = self._watch("handshake")

        def look() -> dict[str, Any] | None:
            nonlocal first_epoch
            found = self._partner.poll()
            if first_epoch is None:
                first_epoch = watch.forgive_epoch = self._partner.epoch
            if found is None or not found.hello:
                return None
            # What was there before we came may be what a dead process left.
            if self._partner.epoch == first_epoch and not watch.check_alive():
                return None
            return read_hello(
                self._fs, self._paths, self._manifest, self.partner, self._partner.epoch
            )

        self._heartbeat.hurry(True)
        self.awaited = "the handshake"
        try:
            return self._waiting.until(look, watch)
        finally:
            self.awaited = ""
            self._heartbeat.hurry(False)

    def resume(self, seq_sent: int, seq_received: int) -> None:
        """See `Channel.resume`."""
        self._check_open()
        if self._outbox.record.base >= 0:
            raise UsageError("resume: too late, messages were sent or received already")
        self._outbox.find_recorded()
        found = self._storage.attempt("read", self._paths.root, self._partner.poll)
        there = self._storage.attempt(
            "list", self._paths.root, lambda: find_messages(self._fs, self._paths, self.partner)
        )
        following = seq_received + 1
        if found is not None and found.seq >= following and following not in there:
            # One that was suspended meanwhile has a successor, which needs it no longer.
            self._lease.check(now=True)
            raise DamagedMessage(
                f"message {following} of {self.partner} was deleted, {self.role} would need it to "
                f"continue from {seq_received}; stop both halves and start them again: they go "
                f"back together to a checkpoint that both have"
            )
        self._received = seq_received
        self._outbox.update(base=seq_sent, seq=seq_sent, received=seq_received)
        self._heartbeat.note(seq_sent, seq_received)

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        self._begin()
        layout = MessageLayout.of(message)
        check_size(layout, self._settings.max_message_bytes)
        self._lease.check()
        # One that is sent again takes the place of what an earlier start has left.
        before = self._kept.bytes_of(self.seq_sent + 1)
        self._make_room(max(0, message_bytes(layout.nbytes, len(layout.arrays)) - before))
        started_s = self._fs.monotonic()
        self._outbox.send(message, layout, self._received)
        counters = self.counters
        counters.exchange_s += self._fs.monotonic() - started_s
        counters.bytes_sent += layout.nbytes
        counters.messages_sent += 1
        counters.replays_verified = self._outbox.replays_verified
        self._heartbeat.note(self.seq_sent, self._received)
        self._glance()

    def receive(self, stage: str, iteration: int) -> Message:
        """See `Channel.receive`."""
        self._begin()
        seq = self._received + 1
        self.awaited = f"{stage} {iteration}"
        message = self._delivery.fetch(seq, stage, iteration)
        self.awaited = ""
        counters = self.counters
        counters.bytes_received += message.nbytes
        counters.messages_received += 1
        self._received = seq
        self._partner.passed(seq)
        self._heartbeat.note(self.seq_sent, seq)
        return message

    def progress(self) -> None:
        """See `Channel.progress`."""
        self._lease.check()
        self._heartbeat.note(self.seq_sent, self._received)
        self._glance()

    # Waiting

    def _watch(self, what: str) -> Watch:
        return Watch(self._fs, self._partner, self._process, self._settings, self._paths.root, what)

    # What is done in passing

    def _look_after(self) -> None:
        """While waiting, leave if superseded, and help the partner to what it needs."""
        self._lease.check()
        self._serve()
        if self.on_wait is not None:
            self.on_wait()

    def _drain(self) -> None:
        """Stay until the partner has all that was sent: it may want something anew."""
        self._heartbeat.beat()  # the partner, too, may be waiting for our count
        self.awaited = f"{self.partner} to read the rest"

        def look() -> bool | None:
            record = self._partner.poll()
            pulse = self._partner.pulse()
            has_all = record is not None and self._partner_has() >= self.seq_sent
            return True if has_all or (pulse is not None and pulse.state == "done") else None

        if self._outbox.record.seq > max(self._outbox.record.base, 0):
            self._waiting.until(look, self._watch("the end"))
            self._delete()

    def _glance(self) -> None:
        """While sending, look now and then at what the partner needs and has done with."""
        now_s = self._fs.monotonic()
        if now_s - self._glanced_s >= _GLANCE_S:
            self._glanced_s = now_s
            self._storage.attempt("read", self._paths.root, self._partner.poll)
            self._serve()
            self._delete()

    def _make_room(self, nbytes: int) -> None:
        """Wait until a message of `nbytes` fits the budget, where waiting can help."""
        if self._kept.fits(nbytes):
            return

        def look() -> bool | None:
            self._partner.poll()
            self._delete()
            return True if self._kept.fits(nbytes) else None

        if self._settings.retain == 0 and nbytes <= self._settings.disk_budget_bytes:
            # The partner reads more slowly than we write, and each message read makes room.
            self._waiting.until(look, self._watch("room for the next message"))
        elif not self._storage.attempt("read", self._paths.root, look):
            self._kept.check_room(nbytes)

    def _serve(self) -> None:
        """Send a message anew that arrived damaged, once."""
        record = self._partner.latest
        if record is not None and record.want and (record.epoch, record.want) != self._served:
            self._served = (record.epoch, record.want)
            if self._outbox.resend(record.want):
                self.counters.resends += 1

    def _partner_has(self) -> int:
        """How many of our messages the partner says that it has read."""
        record, pulse = self._partner.latest, self._partner.pulse()
        told = record.received if record is not None else 0
        return max(told, pulse.received if pulse is not None else 0)

    def _delete(self) -> None:
        """Delete messages that nobody can need any more."""
        record = self._partner.latest
        if record is None:
            return
        if self._settings.retain:
            through = min(self._outbox.record.passed_sent, record.passed_received)
        else:
            through = self._partner_has()
        self._outbox.delete_through(through)
