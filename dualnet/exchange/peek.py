"""A look at an exchange directory from outside: no lock, no waiting, nothing written.

It works while everything is broken: what cannot be read is None, what is wrong is listed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from dualnet.errors import DualnetError
from dualnet.exchange.channel import ROLES
from dualnet.exchange.disk.records import BadRecord, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.files.status_record import RECORD_LIMIT, StageRecord
from dualnet.exchange.paths import DataName, ExchangePaths
from dualnet.exchange.run.heartbeat import HEARTBEAT_BYTES, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import GENERATION_LIMIT
from dualnet.exchange.run.manifest import read_key, read_manifest
from dualnet.fs import Fs

__all__ = ["HalfView", "RunView", "peek"]


@dataclass
class HalfView:
    """One half as its files show it.

    Attributes:
        role: "net1" or "net2".
        epoch: how many times it was started; 0 is never.
        state: what its last heartbeat says, "" if there is none to be read.
        process: where it runs, "" if unknown.
        alive: whether its process runs; None if that cannot be told from this machine.
        heartbeat_age_s: since its last heartbeat, by the wall clocks; a hint, no proof.
        progress: grows whenever it gets something done.
        sent, received: messages.
        stage, iteration: of the last message sent; "" and -1 before the first.
        checkpoint: iteration of the last durable checkpoint, -1 is none.
        kept_bytes: its messages that are on disk.
    """

    role: str
    epoch: int = 0
    state: str = ""
    process: str = ""
    alive: bool | None = None
    heartbeat_age_s: float | None = None
    progress: int = 0
    sent: int = 0
    received: int = 0
    stage: str = ""
    iteration: int = -1
    checkpoint: int = -1
    kept_bytes: int = 0


@dataclass
class RunView:
    """An exchange directory.

    Attributes:
        path: the directory.
        run_id: in hex, "" if the manifest cannot be read.
        identity: what both halves agree on.
        halves: by role.
        problems: what is missing or wrong, one line each.
    """

    path: str
    run_id: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    halves: dict[str, HalfView] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def peek(run_dir: str, fs: Fs | None = None) -> RunView:
    """Look at the exchange of a run; never raises for what it finds there.

    Args:
        run_dir: the run's directory.
        fs: all I/O.
    """
    return _Peek(fs or Fs(), ExchangePaths.of_run(run_dir)).view


class _Peek:
    def __init__(self, fs: Fs, paths: ExchangePaths) -> None:
        self._fs = fs
        self._paths = paths
        self._key = b""
        self.view = RunView(paths.root)
        try:
            names = fs.listdir(paths.root)
        except OSError as error:
            self._problem(paths.root, error)
            names = []
        self._read_manifest()
        for role in ROLES:
            self.view.halves[role] = self._half(role, names)

    def _problem(self, path: str, error: Exception) -> None:
        text = error.strerror if isinstance(error, OSError) else str(error)
        line = f"{os.path.basename(path)}: {text}"
        if line not in self.view.problems:
            self.view.problems.append(line)

    def _read_manifest(self) -> None:
        try:
            self._key = read_key(self._fs, self._paths) or b""
            manifest = read_manifest(self._fs, self._paths, self._key)
        except DualnetError as error:
            self.view.problems.append(str(error))
        except OSError as error:
            self._problem(self._paths.manifest, error)
        else:
            if manifest is None:
                self.view.problems.append("manifest.json: no run was started here")
            else:
                self.view.run_id = manifest.run_id.hex()
                self.view.identity = manifest.identity

    def _half(self, role: str, names: list[str]) -> HalfView:
        half = HalfView(role)
        for name in names:
            generation = self._paths.parse_generation(name)
            if generation is not None and generation[0] == role:
                half.epoch = max(half.epoch, generation[1])
            data = DataName.parse(name)
            if data is not None and data.role == role:
                half.kept_bytes += self._size(os.path.join(self._paths.root, name))
        if half.epoch:
            self._read_process(half)
            self._read_pulse(half)
            self._read_record(half)
        return half

    def _read_process(self, half: HalfView) -> None:
        path = self._paths.generation(half.role, half.epoch)
        fields = self._record(path, "generation", GENERATION_LIMIT)
        process = ProcessId.from_fields(fields)
        if process is not None:
            half.process = str(process)
            half.alive = process.alive(ProcessId.current())

    def _read_pulse(self, half: HalfView) -> None:
        path = self._paths.heartbeat(half.role, half.epoch)
        fields = self._record(path, "heartbeat", HEARTBEAT_BYTES)
        try:
            pulse = Pulse(**fields)
        except TypeError:
            return
        half.state = str(pulse.state)
        half.progress = pulse.progress
        half.sent = pulse.seq
        half.received = pulse.received
        half.heartbeat_age_s = self._age(path)

    def _read_record(self, half: HalfView) -> None:
        path = self._paths.stage(half.role, half.epoch)
        record = StageRecord.from_fields(self._record(path, "stage", RECORD_LIMIT))
        if record is None:
            return
        half.sent = record.seq
        half.received = max(half.received, record.received)
        half.stage = record.stage
        half.iteration = record.iteration
        half.checkpoint = record.checkpoint

    def _record(self, path: str, kind: str, limit: int) -> dict[str, Any]:
        """The fields of a record, checked if we have the secret; {} if there is nothing to show."""
        try:
            data = read_small(self._fs, path, limit)
        except (OSError, Damaged) as error:
            self._problem(path, error)
            return {}
        try:
            return unseal(self._key, kind, data, limit)
        except BadRecord as error:
            self._problem(path, error)
        try:
            # Showing what an unsealed record says is better than showing nothing.
            fields = json.loads(data.partition(b" ")[2].decode("ascii"))
        except (ValueError, RecursionError):
            return {}
        return fields if isinstance(fields, dict) else {}

    def _age(self, path: str) -> float | None:
        try:
            return max(0.0, self._fs.wall_time() - self._fs.lstat(path).st_mtime)
        except OSError:
            return None

    def _size(self, path: str) -> int:
        try:
            return self._fs.lstat(path).st_size
        except OSError:
            return 0  # deleted meanwhile
