"""The runs that a report is about: their logs by piece, and what to call them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from dualnet.config import Config, load_run
from dualnet.config.chain import SINGLE, number_of
from dualnet.errors import ConfigError, UsageError
from dualnet.report.accuracy import accuracy_name
from dualnet.report.parse import ParsedLog, parse_log
from dualnet.report.training_time import training_seconds
from dualnet.rundir import RunDir

__all__ = ["PLAIN", "Points", "Run", "describe", "read_runs", "shortest_names"]

#: What any log is called that is not a piece's, as one of BVLC Caffe's.
PLAIN = "log"

#: Iterations (K,) int64 and values (K,) float64.
Points = tuple[np.ndarray, np.ndarray]


@dataclass
class Run:
    """One line in the legend."""

    path: Path
    label: str
    #: Piece to log: those of net1 to netK and single that are there, or "log" alone.
    logs: dict[str, ParsedLog]
    #: The piece of the chain that has the labels' loss.
    last: str
    #: None where it cannot be read, and for a single log.
    config: Optional[Config] = None

    def coupled(self) -> list[str]:
        """The pieces that learn from the piece above them, of those that have a log."""
        return [name for name in self.logs if name not in (self.last, SINGLE, PLAIN)]

    def coupling_loss(self, piece: str) -> Points:
        """Return such a piece's training loss: iterations (K,) int64 and values (K,) float64.

        None where it only repeats the loss that counts: with the targets `backprop` and `frozen` a
        piece has no loss of its own, and its log shows the one that comes down to it.
        """
        iterations, values = _loss(self.logs, [piece] if piece in self.coupled() else [])
        those, counting = self.classification_loss()
        _, here, there = np.intersect1d(iterations, those, return_indices=True)
        # Logs hold six digits.
        repeats = here.size > 0 and np.allclose(
            values[here], counting[there], rtol=1e-5, atol=0.0, equal_nan=True
        )
        return _nothing() if repeats else (iterations, values)

    def classification_loss(self) -> Points:
        """Return the training loss of the net that classifies, as iterations and values."""
        return _loss(self.logs, [self.last, SINGLE, PLAIN])

    def accuracy(self) -> Points:
        """Return the first test output that is an accuracy, as iterations and values."""
        for piece in (self.last, SINGLE, PLAIN):
            log = self.logs.get(piece)
            name = accuracy_name(log.names("test")) if log is not None else None
            if log is not None and name is not None:
                return log.series(name, "test")
        return _nothing()

    def series(self, name: str) -> Points:
        """Return any series of the logs.

        Args:
            name: An output, as "norm"; of one piece's log, as "net1:norm"; of the test net, as
                "test:loss" or "net2:test:loss". Without a piece the first log that has it counts.

        Returns:
            Iterations (K,) int64 and values (K,) float64; both empty if no log has it.
        """
        *qualifiers, output = name.split(":")
        phase = "test" if "test" in qualifiers else "train"
        is_of_one = any(word == PLAIN or number_of(word) for word in qualifiers)
        for piece, log in self.logs.items():
            wanted = piece in qualifiers or not is_of_one
            if wanted and output in log.names(phase):
                return log.series(output, phase)
        return _nothing()

    def seconds(self, iterations: np.ndarray) -> np.ndarray:
        """How long the training had taken at some iterations (training_time.py).

        By the log of the piece whose loss counts; the pieces make each iteration together.

        Args:
            iterations: (K,) int64.

        Returns:
            (K,) float64.
        """
        known, seconds = self._times()
        return np.interp(iterations, known, seconds) if known.size else np.zeros(len(iterations))

    @property
    def duration_s(self) -> float:
        """Seconds of training up to the last line of the log; 0 before the first."""
        return float(self._times()[1].max(initial=0.0))

    def _times(self) -> Points:
        pieces = [name for name in (self.last, SINGLE, PLAIN) if name in self.logs]
        return training_seconds(self.logs[(pieces or list(self.logs))[0]])

    def names(self) -> list[str]:
        """Return what `series` knows, each with its piece."""
        return [
            f"{piece}:{prefix}{name}"
            for piece, log in self.logs.items()
            for phase, prefix in (("train", ""), ("test", "test:"))
            for name in log.names(phase)
        ]


def _nothing() -> Points:
    return np.zeros(0, np.int64), np.zeros(0)


def _loss(logs: dict[str, ParsedLog], pieces: Iterable[str]) -> Points:
    for piece in pieces:
        if piece in logs:
            # The "Iteration" line holds the loss whatever the output is called.
            rows = [row for row in logs[piece].train if row.loss is not None]
            if rows:
                values = np.array([row.loss for row in rows], np.float64)
                return np.array([row.iteration for row in rows], np.int64), values
            return logs[piece].series("loss")
    return _nothing()


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Read the logs of several runs and give each a name that tells them apart.

    Args:
        paths: Run directories, or single log files.

    Returns:
        The runs, in the same order.

    Raises:
        UsageError: There is no such path, or a directory without logs.
        StorageFailed: A log cannot be read.
    """
    runs = [_read_run(Path(path)) for path in paths]
    repeated = Counter(run.label for run in runs)
    names = shortest_names([run.path for run in runs])
    for run, name in zip(runs, names):
        if repeated[run.label] > 1:
            run.label = f"{run.label} ({name})" if run.path.is_dir() else name
    return runs


def _read_run(path: Path) -> Run:
    if path.is_file():
        name = path.stem if number_of(path.stem) else PLAIN
        return Run(path, path.name, {name: parse_log(path)}, _last_of([name]))
    if not path.is_dir():
        raise UsageError(f"there is no {path}: give run directories or log files")
    run = RunDir(str(path))
    logs = {piece.name: piece.log for piece in run.logged() if os.path.isfile(piece.log)}
    if not logs:
        wanted = [os.path.basename(run.piece(name).log) for name in ("net1", "net2", SINGLE)]
        raise UsageError(f"{path} holds no log: expected one of {', '.join(wanted)} there")
    parsed = {name: parse_log(log) for name, log in logs.items()}
    try:
        config = load_run(run)
    except ConfigError:  # none, or of another version; the logs can be drawn all the same
        return Run(path, _name(path), parsed, _last_of(logs))
    label = describe(config, any(name != SINGLE for name in logs))
    return Run(path, label, parsed, _last_of([*config.names, *logs]), config)


def _last_of(names: Iterable[str]) -> str:
    """The last piece of the chain that some of its pieces are known of; it has two at least."""
    return f"net{max([2, *map(number_of, names)])}"


def describe(config: Config, is_cut: bool) -> str:
    """Return what sets a run apart from others, in a few words.

    Args:
        config: Of the run.
        is_cut: Whether it was the cut net that was trained.
    """
    if not is_cut:
        return "single net"
    rules = []
    for index in range(len(config.cuts)):
        coupling = config.coupling_of(index)
        loss = "" if coupling.loss == "prototxt" else f", loss {coupling.loss}"
        rules.append(f"target {coupling.target}{loss}, tie {coupling.tie}")
    length = f"{len(config.pieces)} pieces, " if len(config.pieces) > 2 else ""
    schedule = {
        "overlapped": f", staleness {config.train.staleness}",
        "pipelined": f", {config.train.micro_batches} micro-batches",
    }.get(config.train.schedule, "")
    return length + " / ".join(dict.fromkeys(rules)) + schedule


def _name(path: Path) -> str:
    return path.resolve().name or str(path)


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as many as it takes to tell them all apart."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    longest = max((len(part) for part in parts), default=1)
    while depth < longest and len({part[-depth:] for part in parts}) < len(set(parts)):
        depth += 1
    return [os.path.join(*part[-depth:]) for part in parts]
