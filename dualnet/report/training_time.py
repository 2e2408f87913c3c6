"""How long a training had taken at each iteration of its log: pauses and repetitions left out.

A log that several starts have written tells the time of day. Between two starts nobody trains, and
what the earlier one made beyond its last checkpoint is made again. The curve of iterations over
time that is wanted is that of a run without interruptions:

    iteration   0 ──── 100 ──── 200 ─ 230        200 ──── 300
    clock       0      60       120   138  …      900      960      seconds
    training    0      60       120               120      180
"""

from __future__ import annotations

import numpy as np

from dualnet.report.parse import LogRow, ParsedLog

__all__ = ["training_seconds"]


def training_seconds(log: ParsedLog) -> tuple[np.ndarray, np.ndarray]:
    """The iterations of a log and the seconds of training up to each.

    Args:
        log: Of one piece. Rows that a later start has repeated are not in it any more.

    Returns:
        Iterations (K,) int64, each once and rising, and seconds (K,) float64, never falling.
    """
    rows: dict[int, LogRow] = {}
    # Where a test and a training line have the same iteration, the latter tells when it was made.
    for one in (*log.tests.values(), log.train):
        rows.update((row.iteration, row) for row in one)
    iterations = np.array(sorted(rows), np.int64)
    clock = np.array([rows[iteration].seconds for iteration in iterations], np.float64)
    starts = np.array([rows[iteration].start for iteration in iterations], np.int64)
    seconds = clock.copy()
    for place in map(int, np.flatnonzero(np.diff(starts)) + 1):
        # The first row of another start: it came as long after the row before it as others did.
        expected = seconds[place - 1] + _pace(iterations, clock, starts, place) * (
            iterations[place] - iterations[place - 1]
        )
        seconds[place:] = clock[place:] - clock[place] + expected
    return iterations, np.maximum.accumulate(seconds) if seconds.size else seconds


def _pace(iterations: np.ndarray, clock: np.ndarray, starts: np.ndarray, place: int) -> float:
    """Seconds an iteration, of the start before a place, or of the one that begins there."""
    for start in (starts[place - 1], starts[place]):
        own = np.flatnonzero(starts == start)
        made = iterations[own[-1]] - iterations[own[0]]
        if made > 0:
            return float(max(0.0, clock[own[-1]] - clock[own[0]]) / made)
    return 0.0
