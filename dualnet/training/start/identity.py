"""Whose a run directory is, and of what: two kinds of records beside the config.

- the identity: the run's number and kind (dual or single); made once, by the first start;
- the inputs of each piece: what it was made of (inputs.py), and how long it was to train.

The number stands in each checkpoint's record, so that another run's is not taken up. A piece's
inputs are written when its nets have been built, before the first message and the first iteration:
a start that failed before leaves nothing to be compared with. Both files are sealed with their own
SHA-256 and appear whole or not at all. Each piece compares its own, for its node alone has the
files.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from dualnet.atomic import create_atomically, write_atomically
from dualnet.engine.formats.regular_file import read_at_most
from dualnet.errors import ManifestMismatch
from dualnet.exchange.disk.records import mac
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.manifest import make_key
from dualnet.fs import SYSTEM, Fs
from dualnet.recorded import seal
from dualnet.rundir import PieceDir, RunDir
from dualnet.training.start.inputs import Fact

__all__ = ["Inputs", "RunId", "begin", "compare", "read_inputs", "read_run", "write"]

_VERSION = 1
#: A net of ten thousand layers has a megabyte of facts.
_LIMIT = 64 << 20
_LONG_HEX = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{16,}\b")


@dataclass(frozen=True)
class RunId:
    """Whose a directory is.

    Attributes:
        run: 16 random bytes in hex; of a dual run they come from its secret.
        kind: "dual" or "single".
    """

    run: str
    kind: str


@dataclass(frozen=True)
class Inputs:
    """What a piece has been made of.

    Attributes:
        run: the run's number.
        role: whose.
        max_iter: iterations that it was last to make.
        facts: what each is about, to its value.
        since: iterations that were made at another max_iter on which their learning rates counted
            (extension.py); they cannot be made again now.
    """

    run: str
    role: str
    max_iter: int
    facts: dict[str, str]
    since: int = 0


def read_run(run: RunDir) -> Optional[RunId]:
    """Whose the directory is, or None if it is nobody's.

    Raises:
        ManifestMismatch: The record is damaged.
        OSError: As the system says.
    """
    fields = _read(run.identity, "put it back, or choose another run directory")
    return None if fields is None else _made(RunId, fields, run.identity)


def begin(piece: PieceDir, kind: str, fs: Fs = SYSTEM) -> None:
    """Make the directory that of a new run, unless it is a run's already.

    Args:
        piece: Who begins it.
        kind: "dual" or "single".
        fs: All I/O.

    Raises:
        OSError: As the system says.
        StorageFailed: The secret is damaged, or others may read it.
    """
    path = piece.run.identity
    if not os.path.exists(path):
        run = fs.random(16) if kind == "single" else _number_of(piece, fs)
        content = _seal({"run": run.hex(), "kind": kind})
        create_atomically(path, content, fs, piece.temporary)


def _number_of(piece: PieceDir, fs: Fs) -> bytes:
    """A chain's number, from its secret: pieces without a directory in common have only that."""
    return mac(make_key(fs, RunPaths(piece.run.exchange), piece.name), "run", b"")[:16]


def read_inputs(piece: PieceDir) -> Optional[Inputs]:
    """What a piece has been made of, or None if it has not begun.

    Raises:
        ManifestMismatch: The record is damaged.
        OSError: As the system says.
    """
    remedy = "put it back; or remove it, if nothing that goes into the run has changed"
    fields = _read(piece.inputs, remedy)
    return None if fields is None else _made(Inputs, fields, piece.inputs)


def write(
    piece: PieceDir,
    run: str,
    max_iter: int,
    facts: Sequence[Fact],
    fs: Fs = SYSTEM,
    since: int = 0,
) -> None:
    """Record what a piece is made of, unless the record has exactly that already.

    Raises:
        OSError: As the system says.
    """
    values = {fact.what: fact.value for fact in facts}
    if read_inputs(piece) == Inputs(run, piece.name, max_iter, values, since):
        return
    fields = {
        "run": run, "role": piece.name, "max_iter": max_iter, "facts": values, "since": since,
    }  # fmt: skip
    write_atomically(piece.inputs, _seal(fields), fs)


def compare(run: RunDir, before: Inputs, facts: Sequence[Fact]) -> None:
    """Check that a piece is made of what it was.

    Raises:
        ManifestMismatch: It is not; the message names the first difference with both values, and
            counts the others.
    """
    now = {fact.what: fact for fact in facts}
    differing = [fact for fact in facts if before.facts.get(fact.what) != fact.value]
    gone = [Fact(before.role, what, "absent") for what in before.facts if what not in now]
    if not differing and not gone:
        return
    first = (differing or gone)[0]
    earlier = before.facts.get(first.what, "absent")
    others = len(differing) + len(gone) - 1
    more = f" ({others} more differences)" if others else ""
    raise ManifestMismatch(
        f"{run}: {first.where}: {first.what} is {_short(first.value)}, was {_short(earlier)} "
        f"when this run began{more}; {first.remedy}, or choose another run directory"
    )


def _short(value: str) -> str:
    """A value as people want to see it: digests by their beginning."""
    return _LONG_HEX.sub(r"\1…", value)


def _seal(fields: dict[str, Any]) -> bytes:
    whole = {"version": _VERSION, **fields}
    return (json.dumps({**whole, "sha256": seal(whole)}, indent=1, allow_nan=False) + "\n").encode()


def _read(path: str, remedy: str) -> Optional[dict[str, Any]]:
    try:
        fields = json.loads(read_at_most(path, _LIMIT).decode())
        stated = fields.pop("sha256")
        version = fields["version"]
        if version == _VERSION and stated != seal(fields):
            raise ValueError("not what was written")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG, errno.EISDIR):
            raise
        raise ManifestMismatch(f"{path}: damaged ({error.strerror}); {remedy}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestMismatch(f"{path}: damaged ({error}); {remedy}") from error
    if version != _VERSION:
        raise ManifestMismatch(
            f"{path}: format {version}, this version of dualnet writes {_VERSION}; use the version "
            "that the run began with, or choose another run directory"
        )
    del fields["version"]
    return dict(fields)


def _check_types(made: Any) -> None:
    """Check that each value is of its field's kind: the seal only says that somebody wrote it so.

    Raises:
        TypeError: One is not.
    """
    for name, value in vars(made).items():
        if name in ("max_iter", "since"):
            is_right = type(value) is int and 0 <= value < 1 << 63
        elif name == "facts":
            is_right = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        else:
            is_right = isinstance(value, str)
        if not is_right or (name == "kind" and value not in ("dual", "single")):
            raise TypeError(f"{name} is of another kind")


def _made(kind: Any, fields: dict[str, Any], path: str) -> Any:
    try:
        made = kind(**fields)
        _check_types(made)
        return made
    except TypeError as error:
        raise ManifestMismatch(
            f"{path}: damaged ({error}); choose another run directory"
        ) from error
