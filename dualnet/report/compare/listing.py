"""The runs below a directory: how far each has come, how good it is and how long it took."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from dualnet.config import Config, load_run
from dualnet.config.chain import number_of
from dualnet.errors import ConfigError, UsageError
from dualnet.report.compare.settings import settings_of
from dualnet.report.lives import Life, as_seen_now, read_lives
from dualnet.report.parse import ParsedLog, parse_log
from dualnet.report.runs import Run
from dualnet.report.status import PieceStatus, status
from dualnet.rundir import PieceDir, RunDir

__all__ = ["Listed", "find_runs", "latest_run", "list_runs", "look_at"]

#: Directories below each other that are searched for runs.
_DEPTH = 4

#: The lives of each piece, from the data to the loss.
Lives = dict[str, list[Life]]


@dataclass(frozen=True)
class Listed:
    """One run.

    Attributes:
        run_dir: Where it is.
        pieces: How many it has; 1 is the single net.
        state: Of the piece that is worst off, named where the pieces differ; see
            `dualnet.report.status.PieceStatus`, but damage of checkpoints is not looked for.
        iteration: Updates completed by all pieces; None if unknown.
        max_iter: In all; None if unknown.
        loss: The last of the piece that classifies; may be infinite or NaN.
        accuracy: Of the last test.
        best_accuracy: Of the best one.
        best_iteration: Where that was.
        began: When the first piece was started first, in UTC; "" if unknown.
        time_s: Wall time of the piece that took longest, all its lives together.
        iterations_per_s: While it trained: tests, checkpoints and restarts do not count.
        samples_per_s: Likewise.
        restarts: How often pieces were started again.
        settings: What it was trained with, by key.
        lives: Of each piece, the first one first.
    """

    run_dir: str
    pieces: int
    state: str
    iteration: Optional[int] = None
    max_iter: Optional[int] = None
    loss: Optional[float] = None
    accuracy: Optional[float] = None
    best_accuracy: Optional[float] = None
    best_iteration: Optional[int] = None
    began: str = ""
    time_s: Optional[float] = None
    iterations_per_s: Optional[float] = None
    samples_per_s: Optional[float] = None
    restarts: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    lives: Lives = field(default_factory=dict)

    @property
    def has_diverged(self) -> bool:
        """Whether its last loss is no number; Accuracy layers take such scores for right ones."""
        return self.loss is not None and not math.isfinite(self.loss)

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
    found = [look_at(run) for run in find_runs(directory)]
    if not found:
        raise UsageError(f"{directory}: no run in it or below it: no piece has a log there")
    return found


def look_at(run: RunDir) -> Listed:
    """Read one run, which has a log at least.

    Raises:
        StorageFailed: The log of the piece that classifies cannot be read.
    """
    try:
        config: Optional[Config] = load_run(run)
    except ConfigError:  # none, or of another version
        config = None
    pieces = list(status(run, verify=False).pieces.values())
    names = [piece.piece for piece in pieces]
    lives = {name: _lives(run.piece(name)) for name in names}
    # The last of the chain has the labels' loss, and the accuracy; the others' logs are not read.
    last = max([*run.logged(), *map(run.piece, names)], key=lambda piece: number_of(piece.name))
    log = parse_log(last.log) if os.path.isfile(last.log) else ParsedLog(Path(last.log))
    read = Run(Path(run.path), "", {last.name: log}, last.name)
    _, losses = read.classification_loss()
    tested, accuracies = read.accuracy()
    best = int(np.nanargmax(accuracies)) if np.isfinite(accuracies).any() else None
    iterations = [piece.iteration for piece in pieces]
    speed, samples = _speed(log), _samples(lives.get(last.name, []))
    max_iter = max((piece.max_iter for piece in pieces if piece.max_iter is not None), default=None)
    if max_iter is None and config is not None:
        max_iter = config.train.max_iter
    return Listed(
        run.path,
        len(pieces),
        _state(pieces),
        iteration=min((one or 0 for one in iterations), default=0) if any(iterations) else None,
        max_iter=max_iter,
        loss=float(losses[-1]) if len(losses) else None,
        accuracy=float(accuracies[-1]) if len(accuracies) else None,
        best_accuracy=float(accuracies[best]) if best is not None else None,
        best_iteration=int(tested[best]) if best is not None else None,
        began=min((each[0].began for each in lives.values() if each), default=""),
        time_s=_time_s(lives, log),
        iterations_per_s=speed,
        samples_per_s=speed * samples if speed is not None and samples else None,
        restarts=sum(max(0, len(each) - 1) for each in lives.values()),
        settings=settings_of(config, [run.piece(name) for name in names], lives),
        lives=lives,
    )


def _lives(piece: PieceDir) -> list[Life]:
    try:
        return [as_seen_now(life, piece) for life in read_lives(piece)]
    except (OSError, ValueError):
        return []  # only what is shown depends on them


def _time_s(lives: Mapping[str, Sequence[Life]], log: ParsedLog) -> Optional[float]:
    """Of the piece that took longest; of a run without a record, what its log says."""
    times = [
        sum(life.wall_s for life in each if life.wall_s is not None)
        for each in lives.values()
        if any(life.wall_s is not None for life in each)
    ]
    if times:
        return max(times)
    return log.train[-1].seconds if log.train else None


def _speed(log: ParsedLog) -> Optional[float]:
    """Iterations per second: the median of those between two lines of the log.

    A test, a checkpoint or a restart lies between few of them, and does not count so.
    """
    iterations = np.array([row.iteration for row in log.train], np.float64)
    seconds = np.array([row.seconds for row in log.train], np.float64)
    passed = np.diff(seconds)
    steps = np.diff(iterations)[passed > 0] / passed[passed > 0]
    return float(np.median(steps)) if len(steps) else None


def _samples(lives: Sequence[Life]) -> int:
    """Samples an iteration; 0 if unknown."""
    found = lives[-1].facts.get("samples_per_iteration") if lives else 0
    return found if isinstance(found, int) else 0


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
