"""Which messages may be deleted, and how much room those that may not take.

A message is needed again when either end restarts from a checkpoint that lies before it: the
sender proves by it that its replay is right, the receiver reads it. It is deleted once it is older
than the oldest checkpoint that each end of the link retains.

A start that replays sends messages again, under its own epoch. Of each message one copy stays: the
older one is deleted when the new one is announced, and what several starts have left is deleted by
the next. So the messages never take more than one copy of each and the one being sent, however
often a piece is started before its next checkpoint.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dualnet.errors import StorageFailed
from dualnet.exchange.files.npy import HEADER_BYTES, TRAILER_BYTES
from dualnet.exchange.files.status_record import StatusRecord
from dualnet.exchange.paths import DataName, LinkPaths
from dualnet.fs import Fs

__all__ = [
    "RetainedMessages",
    "CheckpointMark",
    "find_messages",
    "message_bytes",
    "superfluous",
]


@dataclass(frozen=True)
class CheckpointMark:
    """Message counts at a durable checkpoint: iteration, messages sent, messages received."""

    iteration: int
    sent: int
    received: int


class RetainedMessages:
    """The messages of one piece, sent over one link, that are still on disk.

    Args:
        fs: all I/O.
        paths: the link's folder.
        budget_bytes: the most that they may take on disk, `exchange.disk_budget_bytes`.
    """

    def __init__(self, fs: Fs, paths: LinkPaths, budget_bytes: int) -> None:
        self._fs = fs
        self._paths = paths
        self._budget_bytes = budget_bytes
        self._entries: dict[int, tuple[list[str], int]] = {}
        self._deleted_through = 0
        #: Bytes that they take on disk, headers and trailers included.
        self.total_bytes = 0

    def add(self, seq: int, path: str, nbytes: int) -> None:
        """Note one file of a message.

        Args:
            seq: the message's number.
            path: the file.
            nbytes: its size.
        """
        files, size = self._entries.get(seq, ([], 0))
        self._entries[seq] = (files + [path], size + nbytes)
        self.total_bytes += nbytes

    def discard(self, seq: int, path: str, nbytes: int) -> None:
        """Delete one file of a message, which another one has taken the place of.

        One that cannot be deleted now is skipped, and tried again with the rest of the message.

        Args:
            seq: the message's number.
            path: the file.
            nbytes: its size, as given to `add`.
        """
        try:
            self._fs.unlink(path)
        except FileNotFoundError:
            pass  # deleted already
        except OSError:
            return
        files, size = self._entries.get(seq, ([], 0))
        if path in files:
            self._entries[seq] = ([one for one in files if one != path], size - nbytes)
            self.total_bytes -= nbytes

    def delete_through(self, seq: int) -> None:
        """Delete messages up to number `seq`.

        A file that cannot be deleted is skipped; it only takes disk space.
        """
        while self._deleted_through < seq:
            self._deleted_through += 1
            files, nbytes = self._entries.pop(self._deleted_through, ([], 0))
            self.total_bytes -= nbytes
            for path in files:
                try:
                    self._fs.unlink(path)
                except OSError:
                    continue

    def bytes_of(self, seq: int) -> int:
        """Bytes that a message takes on disk now; 0 if none of its files is there."""
        return self._entries.get(seq, ([], 0))[1]

    def fits(self, nbytes: int) -> bool:
        """Whether files of `nbytes` in all, beside those that are kept, fit the budget."""
        return self.total_bytes + nbytes <= self._budget_bytes

    def check_room(self, nbytes: int) -> None:
        """Check that files of `nbytes` in all fit the budget beside those that are kept.

        Raises:
            StorageFailed: they do not.
        """
        if not self.fits(nbytes):
            raise StorageFailed(
                f"{self._paths.root}: messages kept for a restart take {self.total_bytes} bytes, "
                f"{nbytes} more exceed exchange.disk_budget_bytes {self._budget_bytes}; write "
                f"checkpoints more often, or raise it"
            )

    def check_disk(self, nbytes: int) -> None:
        """Check that the disk has room for `nbytes` of messages from either end.

        That is twice `nbytes`, because the other end of the link fills the same disk, with about as
        much: a cut blob goes up and a target of its size comes down.

        Args:
            nbytes: the most that this end keeps at a time.

        Raises:
            StorageFailed: twice as many bytes are not free.
            OSError: from the file system.
        """
        status = self._fs.statvfs(self._paths.root)
        free = status.f_bavail * status.f_frsize
        if free < 2 * nbytes:
            raise StorageFailed(
                f"{self._paths.root}: {free} bytes free, {2 * nbytes} wanted (twice what is kept "
                f"between two checkpoints); free space, or write checkpoints more often"
            ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def message_bytes(data_bytes: int, arrays: int) -> int:
    """Bytes on disk of a message with so much data in so many arrays."""
    return data_bytes + arrays * (HEADER_BYTES + TRAILER_BYTES)


def find_messages(fs: Fs, paths: LinkPaths, piece: str) -> dict[int, list[DataName]]:
    """All data files of a piece by message number."""
    found: dict[int, list[DataName]] = {}
    for name in fs.listdir(paths.root):
        entry = DataName.parse(name)
        if entry is not None and entry.piece == piece:
            found.setdefault(entry.seq, []).append(entry)
    return found


def superfluous(
    names: Sequence[DataName], records: Mapping[int, StatusRecord | None]
) -> list[DataName]:
    """Which of one message's files, of several starts, nobody can need.

    One copy stays: the one that `Neighbour.locate` finds, of the latest start that announced it.
    A copy that a start was killed while writing does not count, unless there is no other.

    Args:
        names: one message's files, at least one.
        records: the status record of each of their epochs, None for one that cannot be read.

    Returns:
        Those; none where a record cannot be read.
    """
    epochs = sorted({name.epoch for name in names}, reverse=True)
    announced = []
    for epoch in epochs:
        record = records[epoch]
        if record is None:
            return []
        if 0 <= record.base < names[0].seq <= record.seq:
            announced.append(epoch)
    stays = (announced or epochs)[0]
    return [name for name in names if name.epoch != stays]
