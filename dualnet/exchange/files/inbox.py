"""The receiving side of a file channel: the partner's next message, verified."""

from __future__ import annotations

import numpy as np

from dualnet.errors import DamagedMessage, ManifestMismatch
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.safefile import Damaged, open_regular
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.neighbour import Partner
from dualnet.exchange.files.npy import HEADER_BYTES, TRAILER_BYTES, ArrayLayout, Trailer, read_array
from dualnet.exchange.files.outbox import message_digest
from dualnet.exchange.files.retention import find_messages
from dualnet.exchange.files.status_record import StageRecord
from dualnet.exchange.paths import DataName, ExchangePaths
from dualnet.exchange.run.manifest import Manifest
from dualnet.fs import Fs

__all__ = ["Inbox"]


class Inbox:
    """Reads messages of one partner.

    Args:
        fs, paths, manifest, hasher, partner: see their classes.
        verify: compare digests of the data.
        limit_bytes: the largest message to accept.
    """

    def __init__(
        self,
        fs: Fs,
        paths: ExchangePaths,
        manifest: Manifest,
        hasher: Hasher,
        partner: Partner,
        verify: bool,
        limit_bytes: int,
    ) -> None:
        self._fs = fs
        self._paths = paths
        self._manifest = manifest
        self._hasher = hasher
        self._partner = partner
        self._verify = verify
        self._limit_bytes = limit_bytes

    def read(self, source: StageRecord, seq: int, stage: str, iteration: int) -> Message:
        """Read message `seq`, which `source` counts.

        Raises:
            Damaged: not readable, or not what was announced; it may be a moment later.
            ManifestMismatch: the message is another one than the caller expects.
            DamagedMessage: it is larger than we accept.
            OSError: from the file system.
        """
        if source.seq == seq and (source.stage, source.iteration) != (stage, iteration):
            self._out_of_step(seq, stage, iteration, source.stage, source.iteration)
        layout = self._partner.layouts(source).find(seq, stage)
        if layout is None:
            self._partner.forget_layouts(source.epoch)
            self.check_step(seq, stage, iteration)
            raise Damaged(f"no layout of stage {stage!r} for message {seq}")
        if layout.nbytes > self._limit_bytes:
            raise DamagedMessage(
                f"{source.role} announces {layout.nbytes} bytes for {stage} {iteration}, "
                f"exchange.max_message_bytes is {self._limit_bytes}; raise it for both halves"
            )
        attempt = source.resent_attempt if source.resent_seq == seq else 0
        arrays, digests = self._read_arrays(source, layout, seq, iteration, attempt)
        if source.seq == seq and message_digest(digests) != source.digest:
            raise Damaged("digest differs from that of the stage record")
        return Message(stage, iteration, arrays)

    def check_step(self, seq: int, stage: str, iteration: int) -> None:
        """Look whether message `seq` is there as something else than expected.

        Raises:
            ManifestMismatch: it is.
            OSError: from the file system.
        """
        found = find_messages(self._fs, self._paths, self._partner.role).get(seq, [])
        steps = {(name.stage, name.iteration) for name in found}
        if steps and (stage, iteration) not in steps:
            self._out_of_step(seq, stage, iteration, *sorted(steps)[-1])

    def _out_of_step(
        self, seq: int, stage: str, iteration: int, their_stage: str, their_iteration: int
    ) -> None:
        raise ManifestMismatch(
            f"the halves are out of step: message {seq} of {self._partner.role} is {their_stage} "
            f"{their_iteration}, expected {stage} {iteration}; run both halves with the same "
            f"version and configuration"
        )

    def _read_arrays(
        self, source: StageRecord, layout: MessageLayout, seq: int, iteration: int, attempt: int
    ) -> tuple[dict[str, np.ndarray], list[bytes]]:
        arrays = {}
        digests = []
        for index, array in enumerate(layout.arrays):
            name = DataName(
                role=source.role,
                iteration=iteration,
                stage=layout.stage,
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
            role=name.role,
            epoch=name.epoch,
            seq=name.seq,
            iteration=name.iteration,
            stage=name.stage,
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
