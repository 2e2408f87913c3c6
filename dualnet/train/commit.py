"""The commit record of a checkpoint: `<role>_iter_<N>.checkpoint.json`, written last.

Weights and solver state are Caffe's (checkpoint.py). What else a half needs to go on to the bit
stands in this record, with the SHA-256 of both files and of itself: a checkpoint without a record,
or whose files are not the recorded ones, does not exist. Everything else (data position, random
numbers, learning rate) follows from the iteration.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable, Optional, Union

from dualnet.atomic import write_atomically

__all__ = ["Commit", "complete", "latest", "mark_complete", "prune", "record_path", "write"]

_VERSION = 1


@dataclass(frozen=True)
class Commit:
    """Where a half stood after `iteration` updates.

    Attributes:
        role: whose.
        iteration: completed updates.
        epoch: how often the half had been started in this run.
        sent: messages sent.
        received: messages received.
        losses: what the next displayed loss is averaged over, oldest first.
        files: name of each file of the checkpoint to its SHA-256 in hex.
        complete: the run has come to its end, tests and exchange included.
    """

    role: str
    iteration: int
    epoch: int = 1
    sent: int = 0
    received: int = 0
    losses: list[float] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    complete: bool = False


def record_path(run_dir: str, role: str, iteration: int) -> str:
    """Where the record of a checkpoint is."""
    return os.path.join(run_dir, f"{role}_iter_{iteration}.checkpoint.json")


def write(run_dir: str, commit: Commit, *paths: str) -> None:
    """Commit a checkpoint whose files are on the disk.

    Args:
        run_dir: The run.
        commit: What to record; `files` is filled in.
        paths: The files, in `run_dir`.

    Raises:
        OSError: As the system says; there is no checkpoint then.
    """
    files = {os.path.basename(path): _digest(path) for path in paths}
    _write(run_dir, replace(commit, files=files))


def mark_complete(run_dir: str, role: str, iteration: int) -> None:
    """Say in the last checkpoint's record that nothing is left to do.

    Raises:
        OSError: As the system says.
    """
    commit = _read(record_path(run_dir, role, iteration), role, iteration)
    if isinstance(commit, Commit):
        _write(run_dir, replace(commit, complete=True))


def latest(
    run_dir: str, role: str, warn: Callable[[str], None] = lambda text: None
) -> Optional[Commit]:
    """The latest checkpoint of a half that is whole, or None.

    Args:
        run_dir: The run.
        role: The half.
        warn: Told of each later one that is not.
    """
    for iteration in sorted(_iterations(run_dir, role), reverse=True):
        path = record_path(run_dir, role, iteration)
        found = _read(path, role, iteration)
        problem = found if isinstance(found, str) else _damage(run_dir, found.files)
        if isinstance(found, Commit) and not problem:
            return found
        warn(f"checkpoint {path} is ignored: {problem}")
    return None


def complete(run_dir: str, role: str) -> bool:
    """Whether a half has come to its end."""
    found = [
        _read(record_path(run_dir, role, iteration), role, iteration)
        for iteration in _iterations(run_dir, role)
    ]
    return any(isinstance(commit, Commit) and commit.complete for commit in found)


def prune(run_dir: str, role: str, keep: int, newest: int) -> None:
    """Remove all but the latest checkpoints of a half.

    Never one after `newest`, which is not ours to judge, and never the record last: a checkpoint
    that is half removed is none.

    Args:
        run_dir: The run.
        role: The half.
        keep: How many stay; 0: all.
        newest: The iteration of the checkpoint just written.
    """
    older = sorted(i for i in _iterations(run_dir, role) if i <= newest)
    for iteration in older[:-keep] if keep else []:
        record = record_path(run_dir, role, iteration)
        stem = record[: -len(".checkpoint.json")]
        for path in (record, f"{stem}.caffemodel", f"{stem}.solverstate"):
            try:
                os.unlink(path)
            except OSError:
                continue  # it does no harm but to the disk


def _iterations(run_dir: str, role: str) -> list[int]:
    pattern = re.compile(re.escape(role) + r"_iter_(\d+)\.checkpoint\.json")
    try:
        names = os.listdir(run_dir)
    except OSError:
        return []
    return [int(match.group(1)) for match in map(pattern.fullmatch, names) if match]


def _write(run_dir: str, commit: Commit) -> None:
    fields = asdict(commit)
    whole = {"version": _VERSION, **fields, "sha256": _seal(fields)}
    content = json.dumps(whole, indent=1) + "\n"
    write_atomically(record_path(run_dir, commit.role, commit.iteration), content.encode())


def _read(path: str, role: str, iteration: int) -> Union[Commit, str]:
    """The record, or what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
        if fields.pop("version") != _VERSION:
            return "written by another version of dualnet"
        if fields.pop("sha256") != _seal(fields):
            return "its record is damaged"
        commit = Commit(**fields)
    except OSError as error:
        return f"{error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "its record is damaged"
    if (commit.role, commit.iteration) != (role, iteration):
        return f"its record is that of {commit.role}, iteration {commit.iteration}"
    return commit


def _seal(fields: dict[str, Any]) -> str:
    """The digest of a record's own fields."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _damage(run_dir: str, files: Mapping[str, str]) -> str:
    """What is wrong with the files of a checkpoint, "" if nothing is."""
    for name, expected in files.items():
        try:
            found = _digest(os.path.join(run_dir, os.path.basename(name)))
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != expected:
            return f"{name} has SHA-256 {found[:16]}…, recorded is {str(expected)[:16]}…"
    return ""


def _digest(path: str) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()
