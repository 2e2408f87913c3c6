"""A view of an exchange directory from outside: no lock, no waiting, nothing written.

It works on damaged runs: what cannot be read is left out, and problems are listed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from dualnet.errors import DualnetError
from dualnet.exchange.disk.records import BadRecord, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.files.status_record import RECORD_LIMIT, StatusRecord
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName, LinkPaths, RunPaths
from dualnet.exchange.run.heartbeat import HEARTBEAT_BYTES, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import GENERATION_LIMIT
from dualnet.exchange.run.manifest import read_key, read_manifest
from dualnet.fs import Fs

__all__ = ["LinkView", "PieceView", "RunView", "peek"]


@dataclass
class LinkView:
    """One end of a link as its files show it.

    Attributes:
        sent, received: messages.
        kind, iteration: of the last message sent; "" and -1 before the first.
        checkpoint: iteration of the last durable checkpoint, -1 is none.
        kept_bytes: size of its messages that are on disk.
    """

    sent: int = 0
    received: int = 0
    kind: str = ""
    iteration: int = -1
    checkpoint: int = -1
    kept_bytes: int = 0


@dataclass
class PieceView:
    """One piece as its files show it.

    Attributes:
        piece: its name.
        epoch: how many times it was started; 0 is never.
        state: that of its last heartbeat, "" if none can be read.
        process: where it runs, "" if unknown.
        alive: whether its process runs; None if this machine cannot see that.
        heartbeat_age_s: since its last heartbeat, by the wall clocks; a hint, no proof.
        progress: grows whenever it gets something done.
        waits_for: the piece that it waits for, "" while it works.
        links: its ends, by the name of their link.
    """

    piece: str
    epoch: int = 0
    state: str = ""
    process: str = ""
    alive: bool | None = None
    heartbeat_age_s: float | None = None
    progress: int = 0
    waits_for: str = ""
    links: dict[str, LinkView] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """Messages sent over all links."""
        return sum(link.sent for link in self.links.values())

    @property
    def received(self) -> int:
        """Messages received over all links."""
        return sum(link.received for link in self.links.values())

    @property
    def checkpoint(self) -> int:
        """Iteration of the last durable checkpoint that all links know of, -1 is none."""
        return min((link.checkpoint for link in self.links.values()), default=-1)

    @property
    def kept_bytes(self) -> int:
        """Size of its messages that are on disk."""
        return sum(link.kept_bytes for link in self.links.values())


@dataclass
class RunView:
    """An exchange directory.

    Attributes:
        path: the directory.
        run_id: in hex, "" if the manifest cannot be read.
        identity: what all pieces agree on.
        pieces: those that have left anything here, by name.
        problems: what is missing or wrong, one line each.
    """

    path: str
    run_id: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, PieceView] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def piece(self, name: str) -> PieceView:
        """A piece's view; that of one that was never started if it has left nothing here."""
        return self.pieces.get(name) or PieceView(name)


def peek(run_dir: str, fs: Fs | None = None) -> RunView:
    """View the exchange of a run; never raises for what it finds there.

    Args:
        run_dir: the run's directory.
        fs: all I/O.
    """
    return _Peek(fs or Fs(), RunPaths.of_run(run_dir)).view


class _Peek:
    def __init__(self, fs: Fs, paths: RunPaths) -> None:
        self._fs = fs
        self._paths = paths
        self._key = b""
        self.view = RunView(paths.root)
        names = self._list(paths.root)
        self._read_manifest()
        epochs: dict[str, int] = {}
        for piece, epoch in filter(None, map(paths.parse_generation, names)):
            epochs[piece] = max(epochs.get(piece, 0), epoch)
        for piece in sorted(epochs, key=lambda name: (len(name), name)):
            self.view.pieces[piece] = self._piece(piece, epochs[piece])
        for link in filter(None, map(Link.parse, sorted(names))):
            self._add_link(paths.link(link))

    def _list(self, folder: str) -> list[str]:
        try:
            return self._fs.listdir(folder)
        except OSError as error:
            self._problem(folder, error)
            return []

    def _problem(self, path: str, error: Exception) -> None:
        text = error.strerror if isinstance(error, OSError) else str(error)
        line = f"{os.path.relpath(path, self._paths.root)}: {text}"
        if path == self._paths.root:
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

    def _piece(self, piece: str, epoch: int) -> PieceView:
        view = PieceView(piece, epoch)
        self._read_process(view)
        self._read_pulse(view)
        return view

    def _read_process(self, view: PieceView) -> None:
        path = self._paths.generation(view.piece, view.epoch)
        fields = self._record(path, "generation", GENERATION_LIMIT)
        process = ProcessId.from_fields(fields)
        if process is not None:
            view.process = str(process)
            view.alive = process.alive(ProcessId.current())

    def _read_pulse(self, view: PieceView) -> None:
        path = self._paths.heartbeat(view.piece, view.epoch)
        fields = self._record(path, "heartbeat", HEARTBEAT_BYTES)
        try:
            pulse = Pulse.from_fields(fields)
        except BadRecord:
            return
        view.state = str(pulse.state)
        view.progress = pulse.progress
        view.waits_for = str(pulse.waits_for)
        for name, (sent, received) in pulse.links.items():
            view.links[name] = LinkView(sent, received)
        view.heartbeat_age_s = self._age(path)

    def _add_link(self, paths: LinkPaths) -> None:
        link = paths.link
        data = [name for name in map(DataName.parse, self._list(paths.root)) if name is not None]
        for piece in (link.lower, link.upper):
            view = self.view.pieces.setdefault(piece, PieceView(piece))
            end = view.links.setdefault(link.name, LinkView())
            end.kept_bytes = sum(self._size(paths.data(n)) for n in data if n.piece == piece)
            if view.epoch:
                self._read_record(paths, view, end)

    def _read_record(self, paths: LinkPaths, view: PieceView, end: LinkView) -> None:
        path = paths.status(view.piece, view.epoch)
        fields = self._record(path, paths.link.kind("status"), RECORD_LIMIT)
        record = StatusRecord.from_fields(paths.link, fields)
        if record is None:
            return
        end.sent = record.seq
        end.received = max(end.received, record.received)
        end.kind = record.kind
        end.iteration = record.iteration
        end.checkpoint = record.checkpoint

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
