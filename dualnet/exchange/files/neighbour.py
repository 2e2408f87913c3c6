"""The other half as seen through the shared directory: its records, and whether it is alive."""

from __future__ import annotations

import os
from typing import Protocol

from dualnet.errors import DualnetError, PartnerDied, PartnerHung, PartnerNeverCame
from dualnet.exchange.disk.mounts import Care
from dualnet.exchange.disk.records import BadRecord
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.files.layout import LAYOUT_LIMIT, LayoutBook, unseal_layout
from dualnet.exchange.files.status_record import RECORD_LIMIT, StageRecord
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.run.heartbeat import Pulse, read_pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import read_generation
from dualnet.exchange.run.manifest import Manifest
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["Partner", "Watch", "Watched", "read_record"]

# Time between two looks at the partner's heartbeat and process.
_LOOK_S = 0.5


def read_record(
    fs: Fs, paths: ExchangePaths, manifest: Manifest, role: str, epoch: int
) -> StageRecord | None:
    """A role's stage record of an epoch; None if there is none, or it is damaged.

    Raises:
        OSError: from the file system.
    """
    try:
        data = read_small(fs, paths.stage(role, epoch), RECORD_LIMIT)
        record = StageRecord.unseal(manifest.key, data)
    except (FileNotFoundError, Damaged, BadRecord):
        return None
    named = (record.run, record.role, record.epoch)
    return record if named == (manifest.run_id.hex(), role, epoch) else None


class Partner:
    """Reads what one role has published. Methods raise OSError from the file system.

    Args:
        fs: all I/O.
        paths: the exchange directory.
        manifest: the run.
        role: whom to read.
        care: how to treat the file system.

    Attributes:
        epoch: the latest generation seen, 0 before the first.
    """

    def __init__(
        self, fs: Fs, paths: ExchangePaths, manifest: Manifest, role: str, care: Care
    ) -> None:
        self.role = role
        self.epoch = 0
        self._fs = fs
        self._paths = paths
        self._manifest = manifest
        self._run = manifest.run_id.hex()
        self._care = care
        self._records: dict[int, StageRecord] = {}
        self._layouts: dict[int, LayoutBook] = {}
        self._probed_s = -float("inf")

    @property
    def latest(self) -> StageRecord | None:
        """The latest epoch's record as last read."""
        return self._records.get(self.epoch)

    def poll(self) -> StageRecord | None:
        """Look once: the latest epoch's record, or None if there is none."""
        if self._care.network:
            # Opening the directory makes an NFS client fetch its attributes and with them drop
            # entries that are out of date.
            self._fs.close(self._fs.open(self._paths.root, os.O_RDONLY | os.O_DIRECTORY))
        now_s = self._fs.monotonic()
        if now_s - self._probed_s >= self._care.probe_s:
            self._probed_s = now_s
            while self._generation_exists(self.epoch + 1):
                self.epoch += 1
        return self.record(self.epoch) if self.epoch else None

    def record(self, epoch: int) -> StageRecord | None:
        """Read an epoch's record anew; a damaged or older one leaves what was known."""
        known = self._records.get(epoch)
        record = read_record(self._fs, self._paths, self._manifest, self.role, epoch)
        if record is None:
            return known
        if known is not None and record.seq < known.seq:
            return known
        self._records[epoch] = record
        return record

    def locate(self, seq: int) -> StageRecord | None:
        """The record of the epoch that published message `seq`, once it has."""
        record = self.latest
        if record is None or record.base < 0:
            return None  # it does not know yet where it continues
        if seq > record.base:
            return record if seq <= record.seq else None
        # Sent before that epoch's checkpoint: an earlier epoch's file is the message, the latest
        # that got so far. If none says so, a crash of the machine took a count back.
        fallback = None
        for epoch in range(record.epoch - 1, 0, -1):
            earlier = self.record(epoch)
            if earlier is not None and 0 <= earlier.base < seq:
                if seq <= earlier.seq:
                    return earlier
                fallback = fallback or earlier
        return fallback

    def layouts(self, record: StageRecord) -> LayoutBook:
        """The layouts that a record counts; reads those that are new.

        Raises:
            Damaged: one cannot be read yet.
        """
        book = self._layouts.setdefault(record.epoch, LayoutBook())
        while book.next_number <= record.layouts:
            path = self._paths.layout(self.role, record.epoch, book.next_number)
            try:
                data = read_small(self._fs, path, LAYOUT_LIMIT)
                entry = unseal_layout(self._manifest.key, self._run, self.role, record.epoch, data)
            except FileNotFoundError as error:
                if not self._skip_deleted(book, record):
                    raise Damaged(f"layout {path}: {error}") from error
                continue
            except BadRecord as error:
                raise Damaged(f"layout {path}: {error}") from error
            book.add(*entry)
        return book

    def forget_layouts(self, epoch: int) -> None:
        """Read an epoch's layouts anew the next time: one may be there by then."""
        self._layouts.pop(epoch, None)

    def passed(self, seq: int) -> None:
        """Forget the layouts that no message after number `seq` has; memory does not grow so."""
        for book in self._layouts.values():
            book.forget_through(seq)

    def _skip_deleted(self, book: LayoutBook, record: StageRecord) -> bool:
        """Go on at the first layout that is still there: those before it went with messages."""
        numbers = [
            number
            for number in self._paths.layout_numbers(
                self._fs.listdir(self._paths.root), self.role, record.epoch
            )
            if book.next_number < number <= record.layouts
        ]
        if numbers:
            book.next_number = min(numbers)
        return bool(numbers)

    def pulse(self) -> Pulse | None:
        """The latest epoch's heartbeat, or None."""
        return read_pulse(
            self._fs, self._paths, self._manifest.key, self._run, self.role, self.epoch
        )

    def process(self) -> ProcessId | None:
        """The latest epoch's process, or None if it cannot be told."""
        try:
            return read_generation(self._fs, self._paths, self._manifest, self.role, self.epoch)
        except OSError:
            return None

    def _generation_exists(self, epoch: int) -> bool:
        try:
            fd = self._fs.open(
                self._paths.generation(self.role, epoch),
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
            )
        except FileNotFoundError:
            return False
        self._fs.close(fd)
        return True


class Watched(Protocol):
    """What a `Watch` has to know of a partner, however it is reached."""

    role: str
    epoch: int

    def pulse(self) -> Pulse | None:
        """Its last heartbeat."""

    def process(self) -> ProcessId | None:
        """Its process, None if that cannot be told."""


class Watch:
    """Judges the partner during one wait: never came, failed, dead, hung, or just slow.

    Time is counted between looks and never more than twice the time that should have passed: while
    this process was stopped or the server stood still, the partner could not beat either.

    Args:
        fs: the clock.
        partner: whom to watch.
        process: this process.
        settings: the limits.
        path: the exchange directory, for messages.
        what: what is waited for, for messages.
    """

    def __init__(
        self,
        fs: Fs,
        partner: Watched,
        process: ProcessId,
        settings: ExchangeSettings,
        path: str,
        what: str,
    ) -> None:
        self._fs = fs
        self._partner = partner
        self._process = process
        self._settings = settings
        self._path = path
        self._what = what
        self._looked_s = self._started_s = fs.monotonic()
        self._epoch = partner.epoch
        self._waited_s = 0.0
        self._still_s = 0.0
        self._stuck_s = 0.0
        self._gone_s = 0.0
        self._pulse: Pulse | None = None
        self._nonce = ""
        #: An epoch that may be dead: wait for the next one as if it had never been.
        self.forgive_epoch = -1

    def look(self) -> DualnetError | None:
        """Look if it is time to.

        Returns:
            The error that ends the wait; raise it after one last look for the message.
        """
        now_s = self._fs.monotonic()
        if now_s - self._looked_s < min(_LOOK_S, self._settings.dead_after_s / 8):
            return None
        passed_s = min(now_s - self._looked_s, 2 * _LOOK_S)
        self._looked_s = now_s
        self._waited_s += passed_s
        partner = self._partner
        if partner.epoch != self._epoch:
            # It was started again: what we knew was about its predecessor.
            self._epoch = partner.epoch
            self._pulse = None
            self._waited_s = self._still_s = self._stuck_s = self._gone_s = 0.0
        if partner.epoch == 0:
            return self._never_came("did not start")
        self._observe(passed_s)
        return self._judge_gone(passed_s) or self._judge_hung()

    def check_alive(self) -> bool:
        """Whether the partner's latest process is certainly alive, looked at now."""
        pulse = self._partner.pulse()
        if pulse is None or pulse.ended:
            return False
        if self._nonce and pulse.nonce != self._nonce:
            return True
        self._nonce = pulse.nonce
        holder = self._partner.process()
        return holder is not None and holder.alive(self._process) is True

    def _observe(self, passed_s: float) -> None:
        pulse = self._partner.pulse()
        self._still_s += passed_s
        self._stuck_s += passed_s
        if pulse is None:
            return
        before = self._pulse
        if before is not None and pulse.nonce != before.nonce:
            self._still_s = 0.0
        if before is not None and pulse.progress != before.progress:
            self._stuck_s = 0.0
        self._pulse = pulse

    def _never_came(self, what: str) -> DualnetError | None:
        limit_s = self._settings.partner_timeout_s
        if self._waited_s < limit_s:
            return None
        return PartnerNeverCame(
            f"{self._partner.role} {what} within {limit_s:g} s in {self._path}; start it with the "
            f"same run directory, or raise exchange.partner_timeout_s"
        )

    def _reason_gone(self) -> str:
        """Why the partner is known to be gone; "" if it is not."""
        pulse = self._pulse
        if pulse is not None and pulse.ended:
            return pulse.state
        holder = self._partner.process()
        alive = holder.alive(self._process) if holder is not None else None
        if alive is False:
            return f"{holder} no longer exists"
        # A process that we can see alive may be kept from beating by a long call into Caffe.
        if alive is None and self._still_s >= self._settings.dead_after_s:
            return f"its heartbeat has stood still for {self._still_s:.0f} s"
        return ""

    def _judge_gone(self, passed_s: float) -> DualnetError | None:
        """The error if the partner is gone and was not started again in time."""
        reason = self._reason_gone()
        if not reason:
            self._gone_s = 0.0
            return None
        if self._epoch == self.forgive_epoch:
            return self._never_came(f"(epoch {self._epoch}: {reason}) was not started again")
        self._gone_s += passed_s
        if self._gone_s <= self._settings.restart_grace_s:
            return None
        return PartnerDied(
            f"{self._partner.role} is gone while {self._what} was awaited: {reason} (epoch "
            f"{self._epoch}, {self._last_status()}, {self._path}); see its log, then start both "
            f"halves again"
        )

    def _judge_hung(self) -> DualnetError | None:
        limit_s = self._settings.hang_timeout_s
        if self._stuck_s < limit_s:
            return None
        return PartnerHung(
            f"{self._partner.role} is alive but has made no progress for {self._stuck_s:.0f} s "
            f"while {self._what} was awaited ({self._last_status()}, {self._path}); see its log, "
            f"or raise exchange.hang_timeout_s"
        )

    def _last_status(self) -> str:
        pulse = self._pulse
        if pulse is None:
            return "no heartbeat read"
        return f"last state {pulse.state!r}, {pulse.seq} messages sent, {pulse.received} received"
