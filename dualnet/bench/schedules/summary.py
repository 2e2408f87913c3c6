"""What timed runs of several schedules say of each other, and what would be possible.

With t1 to tK for the pieces' busy times, the time of an iteration is at least

    t1 + ... + tK                       where they take turns
    (sum of all + (M - 1) max) / M      pipelined, the batch in M parts of equal time
    max(t1, ..., tK)                    where all work at the same time

(Taking turns it may be less by what a piece's copy of the dual layers needs: it runs while the
piece above is at work.) Where pieces share cores, they hold each other up, and the bounds say
nothing: they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from dualnet.bench.schedules.timed_run import PieceTimes

__all__ = ["TimedRun", "Variant", "iteration_s", "summary"]

#: Piece to its times.
TimedRun = dict[str, PieceTimes]


@dataclass(frozen=True)
class Variant:
    """One of the trainings that are compared.

    Attributes:
        name: In the records.
        settings: As `--set` takes them.
        parts: Micro-batches of a batch.
        is_overlapped: Whether batches are ahead of the answers.
    """

    name: str
    settings: tuple[str, ...] = ()
    parts: int = 1
    is_overlapped: bool = False

    def bound_s(self, busy_s: Sequence[float]) -> float:
        """The least time of an iteration of pieces that are busy for so long."""
        slowest = max(busy_s)
        if self.is_overlapped:
            return slowest
        return (sum(busy_s) + (self.parts - 1) * slowest) / self.parts


def summary(
    timed: Mapping[str, Sequence[TimedRun]], variant: Variant, shared: bool = False
) -> dict[str, Any]:
    """A variant's medians over the rounds, and its ratios to others of the same round.

    Args:
        timed: Variant to its timed runs, one a round.
        variant: Which variant.
        shared: Whether pieces share cores.

    Returns:
        The record, times in milliseconds.
    """
    own, alternating = timed[variant.name], timed["alternating"]
    iterations_s = [iteration_s(run) for run in own]
    batch = next(iter(own[0].values())).batch
    record: dict[str, Any] = {
        "batch": batch,
        "iteration_ms": round(median(iterations_s) * 1e3, 2),
        "iterations_ms": [round(seconds * 1e3, 2) for seconds in iterations_s],
        "samples_per_s": round(batch / median(iterations_s), 1),
    }
    for piece in own[0]:
        record[piece] = _piece([run[piece] for run in own])
    if len(own[0]) > 1:
        shares = [sum(one.exchange_s for one in run.values()) / iteration_s(run) for run in own]
        record["exchange_share"] = round(median(shares), 4)
        if not shared:
            record["limit"] = _ratio(sum(busy) / max(busy) for busy in map(_busy_s, alternating))
        if variant.name != "alternating":
            pairs = list(zip(alternating, own))
            record["over_alternating"] = _ratio(iteration_s(a) / iteration_s(b) for a, b in pairs)
            if not shared:
                # With the busy times of this variant: recomputing adds to them.
                record["limit_over_alternating"] = _ratio(
                    iteration_s(a) / variant.bound_s(_busy_s(b)) for a, b in pairs
                )
        if timed.get("single"):
            pairs = list(zip(timed["single"], own))
            record["over_single"] = _ratio(iteration_s(a) / iteration_s(b) for a, b in pairs)
    return record


def _piece(each: Sequence[PieceTimes]) -> dict[str, Any]:
    return {
        "median_ms": round(median(one.median_s for one in each) * 1e3, 2),
        "busy_ms": round(median(one.busy_s for one in each) * 1e3, 2),
        "wait_share": round(median(one.wait_s / one.iteration_s for one in each), 4),
        "exchange_share": round(median(one.exchange_s / one.iteration_s for one in each), 4),
        "cpu_ms": round(median(one.cpu_s for one in each) * 1e3, 2),
        "sent_bytes": round(each[0].sent_bytes),
    }


def iteration_s(run: TimedRun) -> float:
    """Time of an iteration: that of the slowest piece."""
    return max(piece.iteration_s for piece in run.values())


def _busy_s(run: TimedRun) -> list[float]:
    return [piece.busy_s for piece in run.values()]


def _ratio(values: Iterable[float]) -> float:
    return round(median(values), 3)
