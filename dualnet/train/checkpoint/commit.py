"""The commit record of a checkpoint: `<role>_iter_<N>.checkpoint.json`, written last.

Weights and solver state are Caffe's (checkpoint.py). What else a half needs to go on to the bit
stands in this record, with the SHA-256 of both files and of itself: a checkpoint without a record,
or whose files are not the recorded ones, does not exist. Everything else (data position, random
numbers, learning rate) follows from the iteration.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable, Optional, Union

from dualnet.atomic import read_whole, write_atomically
from dualnet.errors import UsageError
from dualnet.fs import SYSTEM, Fs
from dualnet.recorded import damage, digest, digest_file, patiently
from dualnet.strict_json import from_text, to_text
from dualnet.train.checkpoint import extras

__all__ = [
    "Commit",
    "check_owner",
    "complete",
    "damage_of",
    "is_end",
    "iterations",
    "latest",
    "mark_complete",
    "prune",
    "read",
    "record_path",
    "recorded",
    "revoke",
    "whole",
    "write",
]

_VERSION = 1
#: Of a record, in bytes; the losses of a window of a million iterations take 20 MB.
_LIMIT = 64 << 20
_EXTRAS = tuple(f"{kind}.npz" for kind in extras.KINDS)


@dataclass(frozen=True)
class Commit:
    """Where a half stood after `iteration` updates.

    Attributes:
        role: whose.
        iteration: completed updates.
        epoch: how often the half had been started in this run.
        sent: messages sent.
        received: messages received.
        losses: what the next displayed loss is averaged over and convergence is judged by, oldest
            first.
        files: name of each file of the checkpoint to its SHA-256 in hex.
        converged: the convergence criterion is met: `last` is known.
        last: completed updates at which the training ends then; 0: at this very checkpoint.
        residual: net1's |x - z| / |x| of the last answer, which it sends up with the next batch.
        complete: the run has come to its end, tests and exchange included.
        run: whose it is: the number in run.json (identity.py).
    """

    role: str
    iteration: int
    epoch: int = 1
    sent: int = 0
    received: int = 0
    losses: list[float] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    converged: bool = False
    complete: bool = False
    last: int = 0
    residual: float = 0.0
    run: str = ""


def record_path(run_dir: str, role: str, iteration: int) -> str:
    """Where the record of a checkpoint is."""
    return os.path.join(run_dir, f"{role}_iter_{iteration}.checkpoint.json")


def write(run_dir: str, commit: Commit, *paths: str, fs: Fs = SYSTEM) -> None:
    """Commit a checkpoint whose files are on the disk.

    Args:
        run_dir: The run.
        commit: What to record; `files` is filled in.
        paths: The files, in `run_dir`.
        fs: All I/O.

    Raises:
        OSError: As the system says; there is no checkpoint then.
    """
    files = {os.path.basename(path): digest_file(path, fs) for path in paths}
    _write(run_dir, replace(commit, files=files), fs)


def mark_complete(run_dir: str, role: str, iteration: int, fs: Fs = SYSTEM) -> None:
    """Say in the last checkpoint's record that nothing is left to do.

    Raises:
        OSError: As the system says; EIO for a record that is not what was written.
    """
    path = record_path(run_dir, role, iteration)
    commit = _read(path, role, iteration, fs)
    if isinstance(commit, str):
        # Passed over in silence, the run would never be complete, and nobody would know.
        raise OSError(errno.EIO, commit, path)
    _write(run_dir, replace(commit, complete=True), fs)


def latest(
    run_dir: str,
    role: str,
    warn: Callable[[str], None] = lambda text: None,
    fs: Fs = SYSTEM,
) -> Optional[Commit]:
    """The latest checkpoint of a half that is whole, or None.

    Args:
        run_dir: The run.
        role: The half.
        warn: Told of each later one that is not.
        fs: All I/O.
    """
    for iteration in sorted(_iterations(run_dir, role, fs), reverse=True):
        found = whole(run_dir, role, iteration, fs)
        if isinstance(found, Commit):
            return found
        warn(f"checkpoint {record_path(run_dir, role, iteration)} is ignored: {found}")
    return None


def whole(run_dir: str, role: str, iteration: int, fs: Fs = SYSTEM) -> Union[Commit, str]:
    """A checkpoint whose record and files are as they were written, or what is wrong with it."""
    found = read(run_dir, role, iteration, fs)
    if isinstance(found, str):
        return found
    return damage(run_dir, found.files, fs) or found


def damage_of(path: str, fs: Fs = SYSTEM) -> str:
    """What is wrong with one file of a checkpoint, "" if it is whole or no record knows it.

    Args:
        path: Any file; `ROLE_iter_N.KIND` may have a record beside it.
        fs: All I/O.
    """
    directory, name = os.path.split(path)
    match = re.fullmatch(r"(\w+)_iter_(\d+)\.\w+", name)
    found = read(directory, match.group(1), int(match.group(2)), fs) if match else ""
    if not isinstance(found, Commit) or name not in found.files:
        return ""
    return damage(directory, {name: found.files[name]}, fs)


def read(run_dir: str, role: str, iteration: int, fs: Fs = SYSTEM) -> Union[Commit, str]:
    """A checkpoint's record, or what is wrong with it; its files may be damaged or gone."""
    return _read(record_path(run_dir, role, iteration), role, iteration, fs)


def recorded(run_dir: str, role: str, fs: Fs = SYSTEM) -> list[int]:
    """The iterations of which a half has a record, whatever it is worth, in no order."""
    return _iterations(run_dir, role, fs)


def complete(run_dir: str, role: str, max_iter: Optional[int] = None, fs: Fs = SYSTEM) -> bool:
    """Whether a half has come to its end.

    Args:
        run_dir: The run.
        role: The half.
        max_iter: What is to be trained now; an end before it counts only if the training had
            converged. Default: any end counts.
        fs: All I/O.
    """
    found = [
        _read(record_path(run_dir, role, iteration), role, iteration, fs)
        for iteration in _iterations(run_dir, role, fs)
    ]
    return any(isinstance(commit, Commit) and is_end(commit, max_iter) for commit in found)


def is_end(commit: Commit, max_iter: Optional[int] = None) -> bool:
    """Whether nothing is left to do after a checkpoint; for `max_iter` see `complete`."""
    is_reached = max_iter is None or commit.converged or commit.iteration >= max_iter
    return commit.complete and is_reached


def iterations(run_dir: str, role: str, fs: Fs = SYSTEM) -> list[int]:
    """Of all checkpoints of a half whose records can be read, in no order."""
    return [
        iteration
        for iteration in _iterations(run_dir, role, fs)
        if isinstance(_read(record_path(run_dir, role, iteration), role, iteration, fs), Commit)
    ]


def check_owner(run_dir: str, role: str, run: str, fs: Fs = SYSTEM) -> None:
    """Check that no checkpoint of another run, or of another role, lies under this role's names.

    Damaged records are left to `latest`.

    Raises:
        UsageError: One does.
    """
    for iteration in sorted(_iterations(run_dir, role, fs)):
        path = record_path(run_dir, role, iteration)
        found = _parse(path, fs)
        if isinstance(found, str) or (found.role, found.run) == (role, run):
            continue
        if found.role == role:
            mine, theirs = f"run {run}", f"run {found.run or 'of an earlier version'}"
        else:
            mine, theirs = role, found.role
        stem = os.path.basename(path)[: -len(".checkpoint.json")]
        raise UsageError(
            f"{path}: a checkpoint of {theirs} and not of {mine}; put this run's own back or "
            f"remove {stem}.*; to begin with its weights, name {stem}.caffemodel in train.weights "
            "of a new run"
        )


def prune(run_dir: str, role: str, keep: int, newest: int, fs: Fs = SYSTEM) -> None:
    """Remove all but the latest checkpoints of a half.

    Never one after `newest`, which is not ours to judge, and never the record last: a checkpoint
    that is half removed is none.

    Args:
        run_dir: The run.
        role: The half.
        keep: How many stay; 0: all.
        newest: The iteration of the checkpoint just written.
        fs: All I/O.
    """
    older = sorted(i for i in _iterations(run_dir, role, fs) if i <= newest)
    for iteration in older[:-keep] if keep else []:
        record = record_path(run_dir, role, iteration)
        stem = record[: -len(".checkpoint.json")]
        for ending in ("checkpoint.json", "caffemodel", "solverstate", *_EXTRAS):
            try:
                fs.unlink(f"{stem}.{ending}")
            except OSError:
                continue  # it does no harm but to the disk


def revoke(run_dir: str, role: str, iteration: int, fs: Fs = SYSTEM) -> None:
    """Take back the record of a checkpoint; its files are none without it.

    Raises:
        OSError: As the system says, but for a record that is gone already.
    """
    try:
        fs.unlink(record_path(run_dir, role, iteration))
    except (FileNotFoundError, IsADirectoryError):
        return  # what is no file is no record


def _iterations(run_dir: str, role: str, fs: Fs = SYSTEM) -> list[int]:
    pattern = re.compile(re.escape(role) + r"_iter_(\d+)\.checkpoint\.json")
    try:
        names = patiently(lambda: fs.listdir(run_dir), fs)
    except OSError:
        return []
    return [int(match.group(1)) for match in map(pattern.fullmatch, names) if match]


def _write(run_dir: str, commit: Commit, fs: Fs) -> None:
    fields = asdict(commit)
    # JSON has no NaN; a training that goes on at one (train.stop_on_nan=false) is restarted, too.
    fields["losses"] = [to_text(loss) for loss in commit.losses]
    fields["residual"] = to_text(commit.residual)
    whole = {"version": _VERSION, **fields, "sha256": _seal(fields)}
    content = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    write_atomically(record_path(run_dir, commit.role, commit.iteration), content.encode(), fs)


def _read(path: str, role: str, iteration: int, fs: Fs) -> Union[Commit, str]:
    """The record, or what is wrong with it."""
    commit = _parse(path, fs)
    if isinstance(commit, Commit) and (commit.role, commit.iteration) != (role, iteration):
        return f"its record is that of {commit.role}, iteration {commit.iteration}"
    return commit


def _parse(path: str, fs: Fs) -> Union[Commit, str]:
    """The record, whosever it is, or what is wrong with it."""
    try:
        fields = json.loads(patiently(lambda: read_whole(path, fs, _LIMIT), fs).decode())
        if fields.pop("version") != _VERSION:
            return "written by another version of dualnet"
        if fields.pop("sha256") != _seal(fields):
            return "its record is damaged"
        fields["losses"] = [from_text(loss) for loss in fields["losses"]]
        fields["residual"] = from_text(fields["residual"])
        commit = Commit(**fields)
        return commit if _is_typed(commit) else "its record is damaged"
    except OSError as error:
        return f"{error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "its record is damaged"


def _is_typed(commit: Commit) -> bool:
    """Whether each value is of its field's kind: the seal only says that somebody wrote it so."""
    counts = (commit.iteration, commit.epoch, commit.sent, commit.received, commit.last)
    flags = (commit.converged, commit.complete)
    files = commit.files
    return (
        all(type(count) is int and 0 <= count < 1 << 63 for count in counts)
        and all(isinstance(flag, bool) for flag in flags)
        and all(isinstance(text, str) for text in (commit.role, commit.run))
        and isinstance(files, dict)
        and all(isinstance(text, str) for text in files.values())
    )


def _seal(fields: dict[str, Any]) -> str:
    """The digest of a record's own fields."""
    return digest([json.dumps(fields, sort_keys=True, allow_nan=False).encode()])
