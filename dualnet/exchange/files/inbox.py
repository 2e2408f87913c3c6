"""The receiving side of a file channel: the neighbour's next message, verified."""

from __future__ import annotations

import numpy as np

from dualnet.errors import DamagedMessage, ManifestMismatch
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.safefile import Damaged, open_regular
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.neighbour import Neighbour
from dualnet.exchange.files.npy import HEADER_BYTES, TRAILER_BYTES, ArrayLayout, Trailer, read_array
from dualnet.exchange.files.outbox import message_digest
from dualnet.exchange.files.retention import find_messages
from dualnet.exchange.files.status_record import StatusRecord
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["Inbox"]


class Inbox:
    """Reads messages of one neighbour.

    Args:
        membership, link, hasher, neighbour: see their classes.
        settings: `verify` and `max_message_bytes` are used.
    """

    def __init__(
        self,
        membership: Membership,
        link: Link,
        hasher: Hasher,
        neighbour: Neighbour,
        settings: ExchangeSettings,
    ) -> None:
        self._fs = membership.fs
        self._paths = membership.paths.link(link)
        self._manifest = membership.manifest
        self._hasher = hasher
        self._neighbour = neighbour
        self._verify = settings.verify
        self._limit_bytes = settings.max_message_bytes

    def read(self, source: StatusRecord, seq: int, kind: str, iteration: int) -> Message:
        """Read message `seq`, which `source` counts.

        Raises:
            Damaged: unreadable, or different from what was announced; a later retry may succeed.
            ManifestMismatch: the message is another one than the caller expects.
            DamagedMessage: it is larger than we accept.
            OSError: from the file system.
        """
        if source.seq == seq and (source.kind, source.iteration) != (kind, iteration):
            self._out_of_step(seq, kind, iteration, source.kind, source.iteration)
        layout = self._neighbour.layouts(source).find(seq, kind)
        if layout is None:
            self._neighbour.forget_layouts(source.epoch)
            self.check_step(seq, kind, iteration)
            raise Damaged(f"no layout of kind {kind!r} for message {seq}")
        if layout.nbytes > self._limit_bytes:
            raise DamagedMessage(
                f"{source.piece} announces {layout.nbytes} bytes for {kind} {iteration}, "
                f"exchange.max_message_bytes is {self._limit_bytes}; raise it for all pieces"
            )
        attempt = source.resent_attempt if source.resent_seq == seq else 0
        arrays, digests = self._read_arrays(source, layout, seq, iteration, attempt)
        if source.seq == seq and message_digest(digests) != source.digest:
            raise Damaged("digest differs from that of the status record")
        return Message(kind, iteration, arrays)

    def check_step(self, seq: int, kind: str, iteration: int) -> None:
        """Check that the files of message `seq`, if any, are of the expected kind and iteration.

        Raises:
            ManifestMismatch: they carry another kind or iteration.
            OSError: from the file system.
        """
        found = find_messages(self._fs, self._paths, self._neighbour.piece).get(seq, [])
        steps = {(name.kind, name.iteration) for name in found}
        if steps and (kind, iteration) not in steps:
            self._out_of_step(seq, kind, iteration, *sorted(steps)[-1])

    def _out_of_step(
        self, seq: int, kind: str, iteration: int, their_kind: str, their_iteration: int
    ) -> None:
        raise ManifestMismatch(
            f"the pieces are out of step: message {seq} of {self._neighbour.piece} is {their_kind} "
            f"{their_iteration}, expected {kind} {iteration}; run all pieces with the same "
            f"version and configuration"
        )

    def _read_arrays(
        self, source: StatusRecord, layout: MessageLayout, seq: int, iteration: int, attempt: int
    ) -> tuple[dict[str, np.ndarray], list[bytes]]:
        arrays = {}
        digests = []
        for index, array in enumerate(layout.arrays):
            name = DataName(
                piece=source.piece,
                iteration=iteration,
                kind=layout.kind,
                array=array.name,
                seq=seq,
                epoch=source.epoch,
                attempt=attempt,
            )
            arrays[array.name], digest = self._read_array(name, array, index)
            digests.append(digest)
        return arrays, digests

    def _read_array(
        self, name: DataName, layout: ArrayLayout, index: int
    ) -> tuple[np.ndarray, bytes]:
        path = self._paths.data(name)
        expected = Trailer(
            run_id=self._manifest.run_id,
            link=self._paths.link,
            piece=name.piece,
            epoch=name.epoch,
            seq=name.seq,
            iteration=name.iteration,
            kind=name.kind,
            index=index,
            name=name.array,
            nbytes=layout.nbytes,
            digest=bytes(32),
        )
        try:
            fd = open_regular(
                self._fs, path, HEADER_BYTES + layout.nbytes + TRAILER_BYTES, exact=True
            )
            try:
                return read_array(
                    self._fs, fd, layout, expected, self._manifest.key, self._hasher, self._verify
                )
            finally:
                self._fs.close(fd)
        except FileNotFoundError as error:
            raise Damaged(f"{path}: not there") from error
        except Damaged as error:
            raise Damaged(f"{path}: {error}") from error
