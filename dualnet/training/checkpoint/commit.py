"""The commit record of a checkpoint, written last.

Weights and solver state are Caffe's (caffe_files.py). What else a piece needs to resume equal to
the bit is in this record, with the SHA-256 of all files and of itself: a checkpoint without a
record, or whose files are not the recorded ones, does not exist. Everything else (data position,
random numbers, learning rate) follows from the iteration.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Callable, Optional, Union

from dualnet.atomic import write_atomically
from dualnet.errors import UsageError
from dualnet.fs import SYSTEM, Fs
from dualnet.recorded import RECORD_VERSION, damage, digest_file, read_record, seal, with_retries
from dualnet.rundir import PieceDir
from dualnet.strict_json import from_text, to_text
from dualnet.training.checkpoint import extras

__all__ = [
    "Commit",
    "check_owner",
    "complete",
    "is_end",
    "iterations",
    "latest",
    "mark_complete",
    "prune",
    "read",
    "recorded",
    "revoke",
    "whole",
    "write",
]


@dataclass(frozen=True)
class Commit:
    """The state of a piece after `iteration` updates.

    Attributes:
        piece: its name.
        iteration: completed updates.
        epoch: how often the piece had been started in this run.
        links: messages sent and received, by the name of the link.
        losses: what the next displayed loss is averaged over and convergence is checked with,
            oldest first.
        files: each file's name to its SHA-256 in hex.
        converged: the convergence criterion is met: `last` is known.
        last: completed updates at which the training ends then; 0: at this very checkpoint.
        residual: |x - z| / |x| of the last answer, which goes up with the next batch.
        complete: the run is over, tests and exchange included.
        run: the number of the run that it belongs to (training/start/identity.py).
    """

    piece: str
    iteration: int
    epoch: int = 1
    links: dict[str, list[int]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    converged: bool = False
    complete: bool = False
    last: int = 0
    residual: float = 0.0
    run: str = ""

    def counts(self, link: str) -> tuple[int, int]:
        """Messages sent and received over a link."""
        sent, received = self.links.get(link, (0, 0))
        return sent, received


def write(piece: PieceDir, commit: Commit, *paths: str, fs: Fs = SYSTEM) -> None:
    """Commit a checkpoint whose files are on the disk.

    Args:
        piece: Whose it is.
        commit: What to record; `files` is filled in.
        paths: The files, in the run's directory.
        fs: All I/O.

    Raises:
        OSError: As the system says; there is no checkpoint then.
    """
    files = {os.path.basename(path): digest_file(path, fs) for path in paths}
    _write(piece, replace(commit, files=files), fs)


def mark_complete(piece: PieceDir, iteration: int, fs: Fs = SYSTEM) -> None:
    """Note in the last checkpoint's record that the run is complete.

    Raises:
        OSError: As the system says; EIO for a record that is not what was written.
    """
    commit = read(piece, iteration, fs)
    if isinstance(commit, str):
        # Raise: otherwise the run would never be marked complete.
        raise OSError(errno.EIO, commit, piece.at(iteration).record)
    _write(piece, replace(commit, complete=True), fs)


def latest(
    piece: PieceDir,
    warn: Callable[[str], None] = lambda text: None,
    fs: Fs = SYSTEM,
) -> Optional[Commit]:
    """The latest checkpoint of a piece that is whole, or None.

    Args:
        piece: Whose.
        warn: Called with a line for each later one that is not.
        fs: All I/O.
    """
    for iteration in sorted(recorded(piece, fs), reverse=True):
        found = whole(piece, iteration, fs)
        if isinstance(found, Commit):
            return found
        warn(f"checkpoint {piece.at(iteration).record} is ignored: {found}")
    return None


def whole(piece: PieceDir, iteration: int, fs: Fs = SYSTEM) -> Union[Commit, str]:
    """A checkpoint whose record and files are as written, or what is wrong with it."""
    found = read(piece, iteration, fs)
    if isinstance(found, str):
        return found
    return damage(piece.run.path, found.files, fs) or found


def read(piece: PieceDir, iteration: int, fs: Fs = SYSTEM) -> Union[Commit, str]:
    """A checkpoint's record, or what is wrong with it; its files may be damaged or gone."""
    commit = _parse(piece.at(iteration).record, fs)
    if isinstance(commit, Commit) and (commit.piece, commit.iteration) != (piece.name, iteration):
        return f"its record is that of {commit.piece}, iteration {commit.iteration}"
    return commit


def recorded(piece: PieceDir, fs: Fs = SYSTEM) -> list[int]:
    """The iterations of which a piece has a record, whatever it is worth, in no order."""
    try:
        return piece.recorded(with_retries(lambda: fs.listdir(piece.run.path), fs))
    except OSError:
        return []


def complete(piece: PieceDir, max_iter: Optional[int] = None, fs: Fs = SYSTEM) -> bool:
    """Whether a piece has come to its end.

    Args:
        piece: Whose.
        max_iter: What is to be trained now; an end before it counts only if the training had
            converged. Default: any end counts.
        fs: All I/O.
    """
    found = [read(piece, iteration, fs) for iteration in recorded(piece, fs)]
    return any(isinstance(commit, Commit) and is_end(commit, max_iter) for commit in found)


def is_end(commit: Commit, max_iter: Optional[int] = None) -> bool:
    """Whether nothing is left to do after a checkpoint; for `max_iter` see `complete`."""
    is_reached = max_iter is None or commit.converged or commit.iteration >= max_iter
    return commit.complete and is_reached


def iterations(piece: PieceDir, fs: Fs = SYSTEM) -> list[int]:
    """The iterations of which a piece has a record that can be read, in no order."""
    return [
        iteration
        for iteration in recorded(piece, fs)
        if isinstance(read(piece, iteration, fs), Commit)
    ]


def check_owner(piece: PieceDir, run: str, fs: Fs = SYSTEM) -> None:
    """Check that no checkpoint of another run or piece has a name of this piece's.

    Damaged records are left to `latest`.

    Raises:
        UsageError: One does.
    """
    for iteration in sorted(recorded(piece, fs)):
        files = piece.at(iteration)
        found = _parse(files.record, fs)
        if isinstance(found, str) or (found.piece, found.run) == (piece.name, run):
            continue
        if found.piece == piece.name:
            mine, theirs = f"run {run}", f"run {found.run or 'of an earlier version'}"
        else:
            mine, theirs = piece.name, found.piece
        stem, weights = os.path.basename(files.stem), os.path.basename(files.weights)
        raise UsageError(
            f"{files.record}: a checkpoint of {theirs} and not of {mine}; put this run's own back "
            f"or remove {stem}.*; to begin with its weights, name {weights} in train.weights of a "
            "new run"
        )


def prune(piece: PieceDir, keep: int, newest: int, fs: Fs = SYSTEM) -> None:
    """Remove all but the latest checkpoints of a piece.

    Checkpoints later than `newest` are left alone. The commit record is deleted first, so that a
    partly deleted checkpoint is invalid.

    Args:
        piece: Whose.
        keep: How many stay; 0: all.
        newest: The iteration of the checkpoint just written.
        fs: All I/O.
    """
    older = sorted(i for i in recorded(piece, fs) if i <= newest)
    for iteration in older[:-keep] if keep else []:
        files = piece.at(iteration)
        beside = map(files.extras, extras.KINDS)
        for path in (files.record, files.weights, files.state, *beside):
            try:
                fs.unlink(path)
            except OSError:
                continue  # it only takes disk space


def revoke(piece: PieceDir, iteration: int, fs: Fs = SYSTEM) -> None:
    """Delete the record of a checkpoint; without it its files do not count.

    Raises:
        OSError: As the system says, but for a record that is gone already.
    """
    try:
        fs.unlink(piece.at(iteration).record)
    except (FileNotFoundError, IsADirectoryError):
        return  # a directory is no record


def _write(piece: PieceDir, commit: Commit, fs: Fs) -> None:
    fields = asdict(commit)
    # JSON has no NaN; a training that continues at one (train.stop_on_nan=false) resumes, too.
    fields["losses"] = [to_text(loss) for loss in commit.losses]
    fields["residual"] = to_text(commit.residual)
    whole = {"version": RECORD_VERSION, **fields, "sha256": seal(fields)}
    content = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    write_atomically(piece.at(commit.iteration).record, content.encode(), fs)


def _parse(path: str, fs: Fs) -> Union[Commit, str]:
    """The record, of whatever piece, or what is wrong with it."""
    fields = read_record(path, fs)
    if isinstance(fields, str):
        return fields
    try:
        if "role" in fields:  # by a version that knew one link
            sent, received = fields.pop("sent"), fields.pop("received")
            fields["piece"] = name = fields.pop("role")
            fields["links"] = {} if name == "single" else {"net1-net2": [sent, received]}
        fields["losses"] = [from_text(loss) for loss in fields["losses"]]
        fields["residual"] = from_text(fields["residual"])
        commit = Commit(**fields)
    except (ValueError, TypeError, KeyError):
        return "its record is damaged"
    return commit if _is_typed(commit) else "its record is damaged"


def _is_typed(commit: Commit) -> bool:
    """Whether each value has its field's type: the seal only proves that it was written so."""
    pairs = list(commit.links.values()) if isinstance(commit.links, dict) else [[-1]]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return False
    counts = [commit.iteration, commit.epoch, commit.last, *(n for pair in pairs for n in pair)]
    flags = (commit.converged, commit.complete)
    files = commit.files
    return (
        all(type(count) is int and 0 <= count < 1 << 63 for count in counts)
        and all(isinstance(flag, bool) for flag in flags)
        and all(isinstance(text, str) for text in (commit.piece, commit.run))
        and isinstance(files, dict)
        and all(isinstance(text, str) for text in files.values())
    )
