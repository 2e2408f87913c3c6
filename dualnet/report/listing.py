"""The runs below a directory in a table: what each is, how far it has come and how good it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from dualnet.config import load_run
from dualnet.errors import ConfigError, UsageError
from dualnet.report.runs import read_runs
from dualnet.report.status import PieceStatus, status
from dualnet.rundir import RunDir

__all__ = ["Listed", "find_runs", "latest_run", "list_runs", "to_table"]

#: Directories below each other that are searched for runs.
_DEPTH = 4


@dataclass(frozen=True)
class Listed:
    """One run.

    Attributes:
        run_dir: Where it is.
        about: What sets it apart from others, in a few words.
        pieces: How many it has; 1 is the single net.
        state: Of the piece that is worst off, named where the pieces differ; see
            `dualnet.report.status.PieceStatus`, but checkpoints are not checked for damage.
        iteration: Updates completed by all pieces; None if unknown.
        max_iter: In all; None if unknown.
        loss: The last of the piece that classifies; may be infinite or NaN.
        accuracy: Of the last test.
        best_accuracy: Of the best one.
    """

    run_dir: str
    about: str
    pieces: int
    state: str
    iteration: Optional[int]
    max_iter: Optional[int]
    loss: Optional[float]
    accuracy: Optional[float]
    best_accuracy: Optional[float]

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary, for `strict_json.to_json`."""
        return asdict(self)


def find_runs(directory: str) -> Iterator[RunDir]:
    """The runs below a directory, or the one that it is, by name; links are not followed.

    Raises:
        UsageError: There is no such directory.
    """
    if not os.path.isdir(directory):
        raise UsageError(f"{directory}: no such directory; name the one that your runs are in")
    for path, folders, _ in os.walk(directory):
        run = RunDir(path)
        is_run = bool(run.logged())
        if is_run:
            yield run
        depth = len(Path(path).relative_to(directory).parts)
        folders[:] = [] if is_run or depth >= _DEPTH else sorted(folders)


def latest_run(directory: str) -> RunDir:
    """The run below a directory that was started last.

    Raises:
        UsageError: There is no such directory, or no run in it.
    """
    begun = [run for run in find_runs(directory) if os.path.exists(run.config)]
    if not begun:
        raise UsageError(f"{directory}: no run in it or below it")
    return max(begun, key=lambda run: os.stat(run.config).st_mtime_ns)


def list_runs(directory: str) -> list[Listed]:
    """Read the runs below a directory.

    Raises:
        UsageError: There is no such directory, or no run in it.
        StorageFailed: A log cannot be read.
    """
    found = [_listed(run) for run in find_runs(directory)]
    if not found:
        raise UsageError(f"{directory}: no run in it or below it: no piece has a log there")
    return found


def _listed(run: RunDir) -> Listed:
    (read,) = read_runs([run.path])
    pieces = list(status(run, verify=False).pieces.values())
    iterations = [piece.iteration for piece in pieces]
    _, losses = read.classification_loss()
    _, accuracies = read.accuracy()
    max_iter = max((piece.max_iter for piece in pieces if piece.max_iter is not None), default=None)
    return Listed(
        run.path,
        read.label,
        len(pieces),
        _state(pieces),
        min((one or 0 for one in iterations), default=0) if any(iterations) else None,
        max_iter if max_iter is not None else _max_iter(run),
        float(losses[-1]) if len(losses) else None,
        float(accuracies[-1]) if len(accuracies) else None,
        float(accuracies.max()) if len(accuracies) else None,
    )


def _max_iter(run: RunDir) -> Optional[int]:
    try:
        return load_run(run).train.max_iter
    except ConfigError:
        return None


#: What pieces can be doing, the worst first; pieces that differ are shown by the first of these.
_WORST = ("failed", "dead", "damaged", "silent", "blocked", "stopped", "not started", "starting")


def _state(pieces: Sequence[PieceStatus]) -> str:
    states = {piece.state.replace("waiting", "running") for piece in pieces}
    if len(states) == 1:
        return states.pop()
    for word in _WORST:
        bad = [piece for piece in pieces if piece.state.startswith(word)]
        if bad:
            return f"{', '.join(piece.piece for piece in bad)} {word}"
    return "running"


def to_table(listed: Sequence[Listed]) -> str:
    """Runs as text for people, one a line."""
    head = ("run", "what", "pieces", "state", "iteration", "loss", "accuracy", "best")
    rows = [head, *(_cells(one) for one in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cells(one: Listed) -> tuple[str, ...]:
    iteration = "" if one.iteration is None else str(one.iteration)
    if iteration and one.max_iter is not None:
        iteration += f"/{one.max_iter}"
    is_good = one.loss is None or math.isfinite(one.loss)
    # Caffe's Accuracy layer takes scores that are nan for right ones.
    accuracies = [one.accuracy, one.best_accuracy] if is_good else [None, None]
    return (
        one.run_dir, one.about, str(one.pieces), one.state, iteration,
        "" if one.loss is None else f"{one.loss:.4g}",
        *("" if value is None else f"{value:.4f}" for value in accuracies),
    )  # fmt: skip
