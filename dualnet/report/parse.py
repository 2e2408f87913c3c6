"""Reading training logs: ours, and any that BVLC Caffe wrote.

Rows are keyed by iteration. A log that several processes continued, one restart after the other, is
one training: where the count of iterations goes back, the later lines replace the earlier ones, and
what the abandoned attempt logged after them is dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import StorageFailed
from dualnet.report.log_clock import LogClock

__all__ = ["SHOWN_LOSS", "SHOWN_OUTPUT", "LogRow", "ParsedLog", "parse_log"]

#: What C++ prints for a float, NaN and infinity included.
_NUMBER = r"([-+]?(?:nan|inf|\d{1,40}\.?\d{0,40}(?:e[-+]?\d{1,9})?|\.\d{1,40}(?:e[-+]?\d{1,9})?))"
_COUNT = r"(\d{1,15})"
_FLAGS = re.ASCII | re.IGNORECASE

_SOLVING = re.compile(r"\bSolving\s+(\S.*)$")
#: Lines after which the count of iterations may go back (solver.cpp, sgd_solver.cpp, caffe.cpp).
_RESTART = re.compile(
    r"\bSolving\b|Restoring previous solver status|restoring history|Resuming from"
)
_ITERATION = re.compile(
    rf"\bIteration {_COUNT}(?: \([^)]*\))?, (?:Testing net|loss|lr)\b", re.ASCII
)
_LOSS = re.compile(rf", loss = {_NUMBER}", _FLAGS)
#: Iteration and loss of a line, for those who follow a log that is being written.
SHOWN_LOSS = re.compile(rf"\] Iteration {_COUNT} .*, loss = {_NUMBER}", _FLAGS)
#: Name and value of an output of a test, likewise.
SHOWN_OUTPUT = re.compile(rf"\] +Test net output #\d{{1,15}}: (\S+) = {_NUMBER}", _FLAGS)
_RATE = re.compile(rf", lr = {_NUMBER}", _FLAGS)
_TESTING = re.compile(r", Testing net \(#(\d{1,6})\)", re.ASCII)
_OUTPUT = re.compile(rf"\b(Train|Test) net output #{_COUNT}: (\S+) = {_NUMBER}", _FLAGS)

#: Longer lines are cut: no line of Caffe's comes near, and garbage must not fill the memory.
_LONGEST_LINE = 2**16


@dataclass
class LogRow:
    """What a log says of one iteration, of the training net or of one test net."""

    #: Updates done before it.
    iteration: int
    #: Since the log's "Solving" line, or its first line that carries a time.
    seconds: float
    #: Of this iteration, or the nearest one known before it (failing that, after it); else nan.
    learning_rate: float = math.nan
    #: The (averaged) loss of the "Iteration N ... loss = v" line, if there is one.
    loss: float | None = None
    #: Output name to value. Further values of one output are called NAME[1], NAME[2], ...
    outputs: dict[str, float] = field(default_factory=dict)
    #: How many "Solving" lines came before it: the start of the training that it is of, from 1.
    start: int = 0


@dataclass
class ParsedLog:
    """The rows of a log, in the order of iterations."""

    path: Path
    #: The nets named by "Solving" lines, one for each start of the training.
    nets: list[str] = field(default_factory=list)
    train: list[LogRow] = field(default_factory=list)
    #: Number of the test net to its rows.
    tests: dict[int, list[LogRow]] = field(default_factory=dict)
    #: Whether the last start reached "Optimization Done."
    done: bool = False

    def rows(self, phase: str, net: int = 0) -> list[LogRow]:
        """Return the rows of the training net or of a test net.

        Args:
            phase: "train" or "test".
            net: Which test net.
        """
        return self.train if phase == "train" else self.tests.get(net, [])

    def names(self, phase: str, net: int = 0) -> list[str]:
        """Return all output names, in the order in which they first appear.

        Args:
            phase: "train" or "test".
            net: Which test net.
        """
        return list(dict.fromkeys(name for row in self.rows(phase, net) for name in row.outputs))

    def series(
        self, name: str, phase: str = "train", net: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return an output over the iterations that have it.

        Args:
            name: Of the output. "loss" falls back on the loss of the "Iteration" lines.
            phase: "train" or "test".
            net: Which test net.

        Returns:
            Iterations (K,) int64 and values (K,) float64; both empty if there is no such output.
        """
        rows = self.rows(phase, net)
        points = [(row.iteration, row.outputs[name]) for row in rows if name in row.outputs]
        if not points and name == "loss":
            points = [(row.iteration, row.loss) for row in rows if row.loss is not None]
        iterations = np.array([point[0] for point in points], np.int64)
        return iterations, np.array([point[1] for point in points], np.float64)


def parse_log(path: str | Path) -> ParsedLog:
    """Read a training log, however long and however damaged.

    Lines that are not understood are passed over; nan and inf are values like others.

    Args:
        path: The log.

    Returns:
        Its rows.

    Raises:
        StorageFailed: The file cannot be read.
    """
    path = Path(path)
    try:
        parser = _Parser(path)
        for line in _lines(path):
            parser.feed(line)
    except OSError as error:
        raise StorageFailed(f"cannot read the log {path} ({error.strerror})") from error
    return parser.finish()


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb", opener=regular_only) as file:
        for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
            yield line.decode("utf-8", "replace").rstrip()


class _Parser:
    def __init__(self, path: Path) -> None:
        self._log = ParsedLog(path)
        self._train: dict[int, LogRow] = {}
        self._tests: dict[int, dict[int, LogRow]] = {}
        self._rates: dict[int, float] = {}
        self._clock = LogClock(path)
        self._iteration: int | None = None
        self._test_net = 0
        self._restarted = False

    def feed(self, line: str) -> None:
        self._clock.feed(line)
        if "Iteration " in line:
            self._feed_iteration(line)
        elif " net output #" in line:
            self._feed_output(line)
        elif "Optimization Done" in line:
            self._log.done = True
        elif _RESTART.search(line):
            self._log.done = False
            self._restarted = True
            solving = _SOLVING.search(line)
            if solving:
                self._log.nets.append(solving.group(1))
                self._clock.start()

    def _feed_iteration(self, line: str) -> None:
        match = _ITERATION.search(line)
        if match is None:
            return
        self._iteration = iteration = int(match.group(1))
        if self._restarted:
            self._drop_after(iteration)
        rest = line[match.start() :]
        testing, loss, rate = _TESTING.search(rest), _LOSS.search(rest), _RATE.search(rest)
        if testing:
            self._test_net = int(testing.group(1))
            # Scores of an earlier attempt at this test would mix with the new ones.
            self._tests.setdefault(self._test_net, {}).pop(iteration, None)
        elif loss:
            self._train.pop(iteration, None)
            self._row(self._train, iteration).loss = float(loss.group(1))
        elif rate:
            self._rates[iteration] = float(rate.group(1))

    def _drop_after(self, iteration: int) -> None:
        self._restarted = False
        tables: list[dict[int, Any]] = [self._train, self._rates, *self._tests.values()]
        for rows in tables:
            for later in [key for key in rows if key > iteration]:
                del rows[later]

    def _feed_output(self, line: str) -> None:
        match = _OUTPUT.search(line)
        if match is None or self._iteration is None:
            return
        phase, _, name, value = match.groups()
        if phase.lower() == "train":
            rows = self._train
        else:
            rows = self._tests.setdefault(self._test_net, {})
        row = self._row(rows, self._iteration)
        # Values of one output follow each other under its name, each with a number of its own.
        free, k = name, 0
        while free in row.outputs:
            k += 1
            free = f"{name}[{k}]"
        row.outputs[free] = float(value)

    def _row(self, rows: dict[int, LogRow], iteration: int) -> LogRow:
        if iteration not in rows:
            rows[iteration] = LogRow(iteration, self._clock.seconds, start=len(self._log.nets))
        return rows[iteration]

    def finish(self) -> ParsedLog:
        log = self._log
        log.train = _in_order(self._train)
        log.tests = {net: _in_order(rows) for net, rows in sorted(self._tests.items()) if rows}
        for rows in (log.train, *log.tests.values()):
            _fill_rates(rows, self._rates)
        return log


def _in_order(rows: dict[int, LogRow]) -> list[LogRow]:
    return [rows[iteration] for iteration in sorted(rows)]


def _fill_rates(rows: list[LogRow], rates: dict[int, float]) -> None:
    """Give each row the learning rate of its iteration, or else the one in force then."""
    known = sorted(rates)
    if not known:
        return
    places = np.searchsorted(known, [row.iteration for row in rows], side="right") - 1
    for row, place in zip(rows, places):
        row.learning_rate = rates[known[max(int(place), 0)]]
