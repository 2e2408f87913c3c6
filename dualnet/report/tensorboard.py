"""A piece's series as event files, which TensorBoard draws while they grow.

`tracking: tensorboard` switches it on. Each start writes a file of its own in
RUN_DIR/tensorboard/PIECE, named so that TensorBoard reads them in the order of the starts. It
begins with the iteration from which the start goes on: TensorBoard drops what earlier starts had
written from there on (the `purge_step` of its writers). So a run that goes back to a checkpoint
shows each point once. Every event is in its file before the training goes on: a process that is
killed loses none.

Of tensorboardX only the messages and the checksum are used. Its SummaryWriter writes in a thread,
which ends without a word on a full disk, and each flush waits for the disk.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import struct
import time
from collections.abc import Mapping
from typing import Any, Callable

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError
from dualnet.rundir import PieceDir

__all__ = ["EventFile", "check_installed"]

_NAME = re.compile(r"events\.out\.tfevents\.(\d+)")


def check_installed() -> None:
    """Check that the library is there that has the messages of event files.

    Raises:
        ConfigError: It is not, or does not go with the protobuf that is installed.
    """
    try:
        _messages()
    except Exception as error:  # TypeError from a protobuf that is too new, ImportError if too old
        words = " ".join(str(error).split()) or type(error).__name__
        # Later ones need protobuf 3.20, and BVLC Caffe's interpreter has the one before.
        is_old = importlib.util.find_spec("google.protobuf.internal.builder") is None
        wanted = "--no-deps tensorboardX==2.4.1" if is_old else "'dualnet[tensorboard]'"
        raise ConfigError(
            f"tracking: tensorboard: tensorboardX cannot be imported ({words[:100]}); "
            f"pip install {wanted}, or set tracking=none"
        ) from error


def _messages() -> Any:
    """The module with the message Event, whose summary is of tensorboardX's own class, too."""
    importlib.import_module("tensorboardX.record_writer")
    return importlib.import_module("tensorboardX.proto.event_pb2")


class EventFile:
    """The event file of one start: a `Listener` of the piece's log.

    Args:
        piece: Whose series.
        iteration: Updates done: what earlier starts wrote from there on does not count any more.
        attempt: Runs what opens or writes the file; it may run that again after an OSError.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(
        self,
        piece: PieceDir,
        iteration: int,
        attempt: Callable[[Callable[[], None]], Any] = lambda write: write(),
    ) -> None:
        self._folder, self._attempt = piece.events, attempt
        self._pb2 = _messages()
        self._checksum = importlib.import_module("tensorboardX.record_writer").masked_crc32c
        attempt(self._open)
        self._add(iteration, file_version="brain.Event:2")
        log = self._pb2.SessionLog
        self._add(iteration, session_log=log(status=log.START))

    def write(self, phase: str, iteration: int, values: Mapping[str, float]) -> None:
        """Append values under the tags PHASE/NAME.

        Args:
            phase: "train" or "test".
            iteration: Updates done before it.
            values: Name to value.
        """
        event = self._pb2.Event()
        for name, value in values.items():
            event.summary.value.add(tag=f"{phase}/{name}", simple_value=value)
        self._add(iteration, summary=event.summary)

    def close(self) -> None:
        """Close the file, which has everything already."""
        self._file.close()

    def _open(self) -> None:
        os.makedirs(self._folder, exist_ok=True)
        # By number and not by time: the clocks of two nodes may differ.
        number = 1 + max(map(_number, os.listdir(self._folder)), default=0)
        path = os.path.join(self._folder, f"events.out.tfevents.{number:05d}")
        self._file = open(  # noqa: SIM115 (closed by close)
            path, "xb", buffering=0, opener=regular_only
        )

    def _add(self, step: int, **content: Any) -> None:
        event = self._pb2.Event(wall_time=time.time(), step=step, **content)
        rest = memoryview(self._framed(event.SerializeToString()))

        def put() -> None:
            nonlocal rest
            while rest:
                rest = rest[self._file.write(rest) :]

        self._attempt(put)

    def _framed(self, data: bytes) -> bytes:
        """A record of an event file: length, its checksum, data, their checksum."""
        length = struct.pack("<Q", len(data))
        sums = [struct.pack("<I", self._checksum(part)) for part in (length, data)]
        return b"".join((length, sums[0], data, sums[1]))


def _number(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found.group(1)) if found else 0
