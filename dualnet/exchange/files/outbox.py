"""The sending side of a link's end: its messages and its status record."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dualnet.errors import DeterminismViolated, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.disk.safefile import Damaged, open_regular, write_all
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.layout import LayoutBook, MessageLayout, seal_layout
from dualnet.exchange.files.neighbour import read_record
from dualnet.exchange.files.npy import (
    HEADER_BYTES,
    TRAILER_BYTES,
    ArrayLayout,
    Trailer,
    read_array,
    read_trailer,
    write_array,
)
from dualnet.exchange.files.retention import RetainedMessages, find_messages, superfluous
from dualnet.exchange.files.status_record import StatusRecord
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName
from dualnet.exchange.run.membership import Membership

__all__ = ["Outbox", "check_size", "message_digest"]

LOGGER = logging.getLogger(__name__)


def message_digest(digests: list[bytes]) -> str:
    """The digest of a message in hex, from those of its arrays in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


@dataclass
class _Copy:
    """The last message sent, kept in memory in case its files do not survive."""

    seq: int
    message: Message


class Outbox:
    """Publishes messages and the record that commits them.

    Args:
        membership, link, storage, hasher: see their classes.
        retained: this piece's messages that are on disk.

    Attributes:
        record: the status record as last published.
        replays_verified: messages sent again that equalled the recorded ones.
    """

    def __init__(
        self,
        membership: Membership,
        link: Link,
        storage: Storage,
        hasher: Hasher,
        retained: RetainedMessages,
    ) -> None:
        piece, epoch = membership.piece, membership.epoch
        self.record = StatusRecord(link, membership.run_id, piece, epoch)
        self.replays_verified = 0
        self._fs = membership.fs
        self._paths = membership.paths.link(link)
        self._manifest = membership.manifest
        self._publisher = Publisher(self._fs, self._paths, piece, epoch)
        self._storage = storage
        self._hasher = hasher
        self._retained = retained
        # Whether each message is brought to stable storage.
        self._sync = membership.policy.network
        self._book = LayoutBook()
        self._copy: _Copy | None = None
        self._attempt = 0
        # Messages that earlier epochs left, to compare replayed ones with.
        self._recorded: dict[int, list[DataName]] = {}

    def begin(self) -> None:
        """Write this epoch's first record."""
        content, path = self.record.seal(self._manifest.key), self._path()
        self._storage.attempt("write", path, lambda: self._publisher.replace(path, content, True))

    def find_recorded(self) -> None:
        """List what earlier epochs of this piece have sent, one copy of each message."""
        root, piece = self._paths.root, self.record.piece
        records: dict[int, StatusRecord | None] = {}
        found = self._storage.attempt(
            "list", root, lambda: find_messages(self._fs, self._paths, piece)
        )
        for seq in sorted(found):
            earlier = [name for name in found[seq] if name.epoch < self.record.epoch]
            if not earlier:
                continue
            for name in earlier:
                self._retained.add(seq, self._paths.data(name), self._size(name))
            for epoch in {name.epoch for name in earlier} - set(records):
                records[epoch] = self._storage.attempt(
                    "read", self._paths.status(piece, epoch), partial(self._read_record, epoch)
                )
            for name in superfluous(earlier, records):
                self._discard(name)
                earlier.remove(name)
            self._recorded[seq] = earlier

    def _read_record(self, epoch: int) -> StatusRecord | None:
        piece = self.record.piece
        return read_record(self._fs, self._paths, self._manifest, piece, epoch)

    def _size(self, name: DataName) -> int:
        try:
            return self._fs.lstat(self._paths.data(name)).st_size
        except OSError:
            return 0

    def _discard(self, name: DataName) -> None:
        self._retained.discard(name.seq, self._paths.data(name), self._size(name))

    def update(self, **changes: Any) -> None:
        """Publish the record with some fields changed."""
        record = replace(self.record, **changes)
        content = record.seal(self._manifest.key)
        path = self._path()
        self._storage.attempt("write", path, lambda: self._put(path, content))
        self.record = record

    def _path(self) -> str:
        return self._paths.status(self.record.piece, self.record.epoch)

    def _put(self, path: str, content: bytes) -> None:
        if self._sync:
            # On a network file system a client may see a mix of old and new pages of a file that is
            # overwritten in place: replace it by rename instead.
            self._publisher.replace(path, content, True)
        else:
            self._publisher.overwrite(path, content)

    def send(self, message: Message, layout: MessageLayout, received: int) -> None:
        """Publish the next message: layout if new, then the data, then the record.

        Args:
            received: messages received, for the record.

        Raises:
            DeterminismViolated: it differs from what an earlier epoch sent.
            StorageFailed: the disk failed for too long.
        """
        seq = self.record.seq + 1
        if not self._book.is_current(layout):
            self._announce(seq, layout)
        arrays = {name: np.asarray(a, order="C") for name, a in message.arrays.items()}
        contiguous = replace(message, arrays=arrays)
        digests = self._write(contiguous, layout, seq, attempt=0)
        self.update(
            seq=seq,
            kind=message.kind,
            iteration=message.iteration,
            digest=message_digest(digests),
            layouts=self._book.next_number - 1,
            received=received,
            # receive() returns only when the requested message has arrived, so no resend request
            # of ours is pending here.
            want=0,
        )
        recorded = self._recorded.pop(seq, None)
        if recorded:
            self.replays_verified += 1
            for name in recorded:
                self._discard(name)  # from now on this epoch's file is the message
        self._remember(seq, contiguous)

    def resend(self, seq: int) -> bool:
        """Publish message `seq` again, under new names, from memory or from our own file.

        Returns:
            False if neither has it any more.
        """
        if self._copy is not None and self._copy.seq == seq:
            message = self._copy.message
            layout: MessageLayout | None = MessageLayout.of(message)
        else:
            message, layout = self._read_own(seq)
        if layout is None:
            LOGGER.warning("message %d cannot be resent: neither memory nor disk has it", seq)
            return False
        LOGGER.warning("resending message %d (%s %d)", seq, message.kind, message.iteration)
        self._attempt += 1
        self._write(message, layout, seq, self._attempt)
        self.update(resent_seq=seq, resent_attempt=self._attempt)
        return True

    def delete_through(self, seq: int) -> None:
        """Delete messages up to number `seq`, and the layouts that only they have."""
        self._retained.delete_through(seq)
        for number in self._book.forget_through(seq):
            try:
                self._fs.unlink(self._paths.layout(self.record.piece, self.record.epoch, number))
            except OSError:
                continue  # a file that cannot be deleted only takes disk space

    def trailer(self, name: DataName, array: ArrayLayout, index: int, digest: bytes) -> Trailer:
        """What the end of one of our files states."""
        return Trailer(
            run_id=self._manifest.run_id,
            link=self._paths.link,
            piece=name.piece,
            epoch=name.epoch,
            seq=name.seq,
            iteration=name.iteration,
            kind=name.kind,
            index=index,
            name=name.array,
            nbytes=array.nbytes,
            digest=digest,
        )

    def _announce(self, seq: int, layout: MessageLayout) -> None:
        record = self.record
        content = seal_layout(
            self._manifest.key, record.link, record.run, record.piece, record.epoch, seq, layout
        )
        path = self._paths.layout(record.piece, record.epoch, self._book.next_number)
        self._storage.attempt(
            "write", path, lambda: self._publisher.replace(path, content, self._sync)
        )
        self._book.add(seq, layout)

    def _write(
        self, message: Message, layout: MessageLayout, seq: int, attempt: int
    ) -> list[bytes]:
        """Publish the arrays of a message; returns their digests."""
        digests = []
        for index, array in enumerate(layout.arrays):
            name = DataName(
                piece=self.record.piece,
                iteration=message.iteration,
                kind=message.kind,
                array=array.name,
                seq=seq,
                epoch=self.record.epoch,
                attempt=attempt,
            )
            digests.append(self._write_array(name, array, index, message.arrays[array.name]))
        return digests

    def _write_array(
        self, name: DataName, layout: ArrayLayout, index: int, array: np.ndarray
    ) -> bytes:
        digest = b""

        def write(fd: int) -> bytes:
            nonlocal digest
            digest = write_array(self._fs, fd, array, layout, self._hasher).digest()
            self._compare(name, layout, index, digest)
            trailer = self.trailer(name, layout, index, digest).pack(self._manifest.key)
            write_all(self._fs, fd, memoryview(trailer))
            return trailer

        path = self._paths.data(name)
        self._storage.attempt(
            "write", path, lambda: self._publisher.replace_with(path, write, self._sync)
        )
        self._retained.add(name.seq, path, HEADER_BYTES + layout.nbytes + TRAILER_BYTES)
        return digest

    def _compare(self, name: DataName, layout: ArrayLayout, index: int, digest: bytes) -> None:
        """Check an array against what an earlier epoch sent in its place.

        Raises:
            DeterminismViolated: it differs.
        """
        recorded = self._recorded.get(name.seq, [])
        if not recorded:
            return
        what = f"message {name.seq} of {name.piece}"
        if not any((r.kind, r.iteration) == (name.kind, name.iteration) for r in recorded):
            raise DeterminismViolated(
                f"{what} is {name.kind} {name.iteration} now and was {recorded[0].kind} "
                f"{recorded[0].iteration} before the restart; start with a new run directory"
            )
        for before in recorded:
            if before.array != name.array or before.attempt:
                continue
            path = self._paths.data(before)
            expected = self.trailer(before, layout, index, digest)
            try:
                stated = read_trailer(self._fs, path, expected, self._manifest.key)
            except FileNotFoundError:
                continue  # missing (a crash before fsync): nothing to compare with
            except Damaged:
                size = self._recorded_size(path, expected)
                if size in (None, layout.nbytes):
                    continue  # damaged likewise
                raise DeterminismViolated(
                    f"{what} ({name.kind} {name.iteration}, {name.array}) has {layout.nbytes} "
                    f"bytes now and had {size} before the restart; let the data layer give the "
                    "same sizes each time it is built (seed it), or use a new run directory"
                ) from None
            if stated != digest:
                raise DeterminismViolated(
                    f"{what} ({name.kind} {name.iteration}, {name.array}) has digest "
                    f"{digest.hex()[:16]} now and had {stated.hex()[:16]} before the restart; use "
                    f"the same machine type, threads and libraries, or a new run directory"
                )

    def _recorded_size(self, path: str, expected: Trailer) -> int | None:
        """Bytes of data of a whole file of ours, of whatever size; None if it is not whole."""
        try:
            size = self._fs.lstat(path).st_size - HEADER_BYTES - TRAILER_BYTES
            if size < 0:
                return None
            read_trailer(self._fs, path, replace(expected, nbytes=size), self._manifest.key)
        except (OSError, Damaged):
            return None
        return size

    def _remember(self, seq: int, message: Message) -> None:
        """Copy the arrays into reused buffers, for a resend.

        The copy costs no wall time: the neighbour already works on the published message.
        """
        old = self._copy.message.arrays if self._copy is not None else {}
        arrays = {}
        for name, array in message.arrays.items():
            buffer = old.get(name)
            if buffer is None or buffer.shape != array.shape or buffer.dtype != array.dtype:
                buffer = np.empty_like(array)
            np.copyto(buffer, array)
            arrays[name] = buffer
        self._copy = _Copy(seq, replace(message, arrays=arrays))

    def _read_own(self, seq: int) -> tuple[Message, MessageLayout | None]:
        """Read a message of this epoch back; no layout if that fails."""
        nothing = Message("", 0, {})
        found = self._storage.attempt(
            "list",
            self._paths.root,
            lambda: find_messages(self._fs, self._paths, self.record.piece).get(seq, []),
        )
        names = {name.array: name for name in found if name.epoch == self.record.epoch}
        if not names:
            return nothing, None
        any_name = next(iter(names.values()))
        layout = self._book.find(seq, any_name.kind)
        if layout is None:
            return nothing, None
        arrays = {}
        for index, array in enumerate(layout.arrays):
            name = replace(any_name, array=array.name, attempt=0)
            size = HEADER_BYTES + array.nbytes + TRAILER_BYTES
            expected = self.trailer(name, array, index, bytes(32))
            try:
                fd = open_regular(self._fs, self._paths.data(name), size, exact=True)
                try:
                    arrays[array.name], _ = read_array(
                        self._fs, fd, array, expected, self._manifest.key, self._hasher, True
                    )
                finally:
                    self._fs.close(fd)
            except (OSError, Damaged):
                return nothing, None
        return Message(any_name.kind, any_name.iteration, arrays), layout


def check_size(layout: MessageLayout, limit: int) -> None:
    """Refuse a message that the neighbour would refuse.

    Raises:
        UsageError: it is larger than `limit`.
    """
    if layout.nbytes > limit:
        raise UsageError(
            f"message {layout.kind}: {layout.nbytes} bytes, exchange.max_message_bytes is "
            f"{limit}; raise it for all pieces"
        )
