"""Whether a piece has come to its end, and whether its last checkpoint is still what it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dualnet.recorded import damage
from dualnet.report.piece_facts import read_json
from dualnet.rundir import PieceDir, RunDir

__all__ = ["is_complete", "lost_since"]


def is_complete(piece: PieceDir, checkpoint: int) -> bool:
    """Whether nothing is left to do after a checkpoint.

    Args:
        piece: Whose.
        checkpoint: Its iteration; -1: there is none.
    """
    return checkpoint >= 0 and _record(piece, checkpoint).get("complete") is True


def lost_since(piece: PieceDir, checkpoint: int) -> str:
    """What is wrong with a checkpoint's files, "" if nothing is."""
    stated = _record(piece, checkpoint).get("files")
    pairs = stated.items() if isinstance(stated, Mapping) else ()
    files = {os.path.basename(str(name)): str(value) for name, value in pairs}
    run = piece.run
    state = tuple((name, value, _stamp(os.path.join(run, name))) for name, value in files.items())
    return _hash(run, state)


def _record(piece: PieceDir, checkpoint: int) -> dict[str, Any]:
    return read_json(piece.at(checkpoint).record, [])


@lru_cache(maxsize=64)
def _hash(run: RunDir, state: tuple[tuple[str, str, tuple[int, ...]], ...]) -> str:
    """What is wrong with files; cached for each state of them, as `--watch` asks often."""
    return damage(run.path, {name: value for name, value, _ in state})


def _stamp(path: str) -> tuple[int, ...]:
    """Changes when the file does."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)
