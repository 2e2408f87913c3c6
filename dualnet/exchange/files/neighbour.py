"""The neighbour as seen through the shared directory: its records and its heartbeat."""

from __future__ import annotations

import os

from dualnet.exchange.disk.records import BadRecord
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.files.layout import LAYOUT_LIMIT, LayoutBook, unseal_layout
from dualnet.exchange.files.status_record import RECORD_LIMIT, StatusRecord
from dualnet.exchange.link import Link
from dualnet.exchange.paths import LinkPaths
from dualnet.exchange.run.heartbeat import Pulse, read_pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import read_generation
from dualnet.exchange.run.manifest import Manifest
from dualnet.exchange.run.membership import Membership
from dualnet.fs import Fs

__all__ = ["Neighbour", "read_record"]


def read_record(
    fs: Fs, paths: LinkPaths, manifest: Manifest, piece: str, epoch: int
) -> StatusRecord | None:
    """A piece's status record of an epoch; None if there is none, or it is damaged.

    Raises:
        OSError: from the file system.
    """
    try:
        data = read_small(fs, paths.status(piece, epoch), RECORD_LIMIT)
        record = StatusRecord.unseal(manifest.key, paths.link, data)
    except (FileNotFoundError, Damaged, BadRecord):
        return None
    named = (record.run, record.piece, record.epoch)
    return record if named == (manifest.run_id.hex(), piece, epoch) else None


class Neighbour:
    """Reads what one piece has published for a link. Methods raise OSError from the file system.

    Args:
        membership: ours.
        link: the link.
        piece: whom to read: the neighbour, or this piece itself.

    Attributes:
        epoch: the latest generation seen, 0 before the first.
    """

    def __init__(self, membership: Membership, link: Link, piece: str) -> None:
        self.piece = piece
        self.epoch = 0
        self._fs = membership.fs
        self._run_paths = membership.paths
        self._paths = membership.paths.link(link)
        self._manifest = membership.manifest
        self._policy = membership.policy
        self._records: dict[int, StatusRecord] = {}
        self._layouts: dict[int, LayoutBook] = {}
        self._probed_s = -float("inf")

    @property
    def latest(self) -> StatusRecord | None:
        """The latest epoch's record as last read."""
        return self._records.get(self.epoch)

    def poll(self) -> StatusRecord | None:
        """Read the latest epoch's record; None if there is none yet."""
        now_s = self._fs.monotonic()
        if now_s - self._probed_s >= self._policy.probe_s:
            self._probed_s = now_s
            self._refresh(self._run_paths.root)
            while self._generation_exists(self.epoch + 1):
                self.epoch += 1
        if not self.epoch or not self._is_announced():
            return None
        self._refresh(self._paths.root)
        return self.record(self.epoch)

    def _refresh(self, folder: str) -> None:
        """Make an NFS client fetch a folder's attributes, which drops stale entries."""
        if self._policy.network:
            self._fs.close(self._fs.open(folder, os.O_RDONLY | os.O_DIRECTORY))

    def _is_announced(self) -> bool:
        """Whether the latest epoch's record is known to be there.

        An NFS client remembers for a while that a name was not there, so a process announces the
        records that it has made in its heartbeat, a file that is older than its epoch.
        """
        if not self._policy.network or self.epoch in self._records:
            return True
        pulse = self.pulse()
        return pulse is not None and self._paths.link.name in pulse.links

    def record(self, epoch: int) -> StatusRecord | None:
        """Read an epoch's record again; a damaged or older one leaves what was known."""
        known = self._records.get(epoch)
        record = read_record(self._fs, self._paths, self._manifest, self.piece, epoch)
        if record is None:
            return known
        if known is not None and record.seq < known.seq:
            return known
        self._records[epoch] = record
        return record

    def locate(self, seq: int) -> StatusRecord | None:
        """The record of the epoch that published message `seq`, once it has."""
        record = self.latest
        if record is None or record.base < 0:
            return None  # it does not know yet where it continues
        if seq > record.base:
            return record if seq <= record.seq else None
        # The file belongs to an earlier epoch: the latest one that had sent message `seq`. If no
        # record says so (a machine crash can restore an older record), use the latest earlier epoch
        # that continued from below `seq`.
        fallback = None
        for epoch in range(record.epoch - 1, 0, -1):
            earlier = self.record(epoch)
            if earlier is not None and 0 <= earlier.base < seq:
                if seq <= earlier.seq:
                    return earlier
                fallback = fallback or earlier
        return fallback

    def layouts(self, record: StatusRecord) -> LayoutBook:
        """The layouts that a record counts; reads those that are new.

        Raises:
            Damaged: one cannot be read yet.
        """
        book = self._layouts.setdefault(record.epoch, LayoutBook())
        while book.next_number <= record.layouts:
            path = self._paths.layout(self.piece, record.epoch, book.next_number)
            try:
                data = read_small(self._fs, path, LAYOUT_LIMIT)
                entry = unseal_layout(
                    self._manifest.key, record.link, record.run, self.piece, record.epoch, data
                )
            except FileNotFoundError as error:
                if not self._skip_deleted(book, record):
                    raise Damaged(f"layout {path}: {error}") from error
                continue
            except BadRecord as error:
                raise Damaged(f"layout {path}: {error}") from error
            book.add(*entry)
        return book

    def forget_layouts(self, epoch: int) -> None:
        """Read an epoch's layouts again the next time: one may be there by then."""
        self._layouts.pop(epoch, None)

    def forget_through(self, seq: int) -> None:
        """Forget the layouts that no message after number `seq` has: memory stays bounded."""
        for book in self._layouts.values():
            book.forget_through(seq)

    def _skip_deleted(self, book: LayoutBook, record: StatusRecord) -> bool:
        """Continue at the first layout that is still there: those before it went with messages."""
        numbers = [
            number
            for number in self._paths.layout_numbers(
                self._fs.listdir(self._paths.root), self.piece, record.epoch
            )
            if book.next_number < number <= record.layouts
        ]
        if numbers:
            book.next_number = min(numbers)
        return bool(numbers)

    def pulse(self) -> Pulse | None:
        """The latest epoch's heartbeat, or None."""
        run = self._manifest.run_id.hex()
        return read_pulse(
            self._fs, self._run_paths, self._manifest.key, run, self.piece, self.epoch
        )

    def process(self) -> ProcessId | None:
        """The latest epoch's process, or None if its record cannot be read."""
        try:
            return read_generation(
                self._fs, self._run_paths, self._manifest, self.piece, self.epoch
            )
        except OSError:
            return None

    def _generation_exists(self, epoch: int) -> bool:
        try:
            fd = self._fs.open(
                self._run_paths.generation(self.piece, epoch),
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
            )
        except FileNotFoundError:
            return False
        self._fs.close(fd)
        return True
