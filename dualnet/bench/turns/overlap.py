"""`dualnet bench overlap`: alternating and overlapped schedules, and the single net, side by side.

Every contender is a real training, in processes of its own on cores of their own. They take turns,
each round begins with another, and ratios are taken within a round.

Beside each ratio stands what is possible. With t1 and t2 for the halves' busy times, an iteration
of two that work at the same time takes max(t1, t2). That of two that take turns takes t1 + t2, less
what net1's dual layers need: they run while net2 is at work in either schedule.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable, Optional

from dualnet.bench.cuts import Case, cases
from dualnet.bench.machine import machine
from dualnet.bench.turns.turn import Place, RoleTimes, run_turn
from dualnet.errors import UsageError

__all__ = ["OverlapRequest", "bench_overlap", "summary"]

Record = dict[str, Any]
Turn = dict[str, RoleTimes]


@dataclass(frozen=True)
class OverlapRequest:
    """What to measure.

    Attributes:
        config: The YAML file.
        overrides: What `--set` says.
        cuts: Cuts of its single net to compare, as `pool1:conv2`; empty: the config's own.
        iterations: Those that count in a turn.
        warm_up: Those before them.
        rounds: Turns of each contender.
        cores_each: Cores of each half; None: half of those that there are.
        staleness: Of the overlapped contenders.
        activations: What they do with what waits: `keep`, `recompute`.
    """

    config: str
    overrides: Sequence[str] = ()
    cuts: Sequence[str] = ()
    iterations: int = 30
    warm_up: int = 5
    rounds: int = 3
    cores_each: Optional[int] = None
    staleness: Sequence[int] = (1, 2)
    activations: Sequence[str] = ("keep", "recompute")

    def __post_init__(self) -> None:
        if min(self.iterations, self.warm_up, self.rounds, *self.staleness) < 1:
            raise UsageError(
                f"--iterations {self.iterations}, --warm-up {self.warm_up}, --rounds "
                f"{self.rounds}, --staleness {' '.join(map(str, self.staleness))}: each must be 1 "
                "or more"
            )

    def places(self) -> dict[str, Place]:
        """The cores of net1, net2 and single.

        Raises:
            UsageError: There are not enough.
        """
        allowed = sorted(os.sched_getaffinity(0))
        each = self.cores_each if self.cores_each is not None else len(allowed) // 2
        if not 1 <= each <= len(allowed) // 2:
            raise UsageError(
                f"--cores-each {each}: two halves need {max(1, each) * 2} cores, and this process "
                f"may use {len(allowed)}; give it fewer, or this process more"
            )
        both = allowed[: 2 * each]
        return {"net1": Place(both[:each]), "net2": Place(both[each:]), "single": Place(both)}


def bench_overlap(
    request: OverlapRequest, say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Let the contenders train by turns.

    Args:
        request: What to measure.
        say: Told of every turn.

    Yields:
        The machine; then for each cut a record for each contender, `alternating` first.
    """
    places = request.places()
    yield {"bench": "overlap", **machine(), "cores_each": len(places["net1"].cores),
           "iterations": request.iterations, "rounds": request.rounds}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases(request.config, request.overrides, request.cuts, scratch):
            contenders = _contenders(request, case)
            turns: dict[str, list[Turn]] = {name: [] for name in contenders}
            names = list(contenders)
            for number in range(request.rounds):
                shift = number % len(names)
                for name in [*names[shift:], *names[:shift]]:
                    turns[name].append(_turn(request, case, places, contenders[name]))
                    last = turns[name][-1]
                    slowest_s = max(role.iteration_s for role in last.values())
                    say(f"{case.cut} round {number + 1}: {name} {slowest_s * 1e3:.1f} ms")
            for name in names:
                yield {**case.names, "contender": name, **summary(turns, name)}


def _contenders(request: OverlapRequest, case: Case) -> dict[str, list[str]]:
    """Name to settings; that of `single` has none."""
    found = {"alternating": ["train.schedule=alternating"]}
    for activations in request.activations:
        for staleness in request.staleness:
            found[f"overlapped {staleness} {activations}"] = [
                "train.schedule=overlapped", f"train.staleness={staleness}",
                f"train.stale_activations={activations}",
            ]  # fmt: skip
    if case.config.single.solver:
        found["single"] = []
    return found


def _turn(
    request: OverlapRequest, case: Case, places: Mapping[str, Place], settings: Sequence[str]
) -> Turn:
    roles = ("net1", "net2") if settings else ("single",)
    # The last iterations of an overlapped run have nothing ahead of them.
    tail = max(request.staleness) + 1
    chosen = {role: places[role] for role in roles}
    return run_turn(case, settings, chosen, request.iterations, request.warm_up, tail)


def summary(turns: Mapping[str, Sequence[Turn]], name: str) -> Record:
    """A contender's medians over the rounds, and its ratios to others of the same round.

    Args:
        turns: Contender to its turns, one a round.
        name: Which contender.
    """
    own = turns[name]
    iterations_s = [_iteration_s(turn) for turn in own]
    batch = next(iter(own[0].values())).batch
    record: Record = {
        "batch": batch,
        "iteration_ms": round(median(iterations_s) * 1e3, 2),
        "iterations_ms": [round(seconds * 1e3, 2) for seconds in iterations_s],
        "samples_per_s": round(batch / median(iterations_s), 1),
    }
    for role in own[0]:
        each = [turn[role] for turn in own]
        record[role] = {
            "median_ms": round(median(one.median_s for one in each) * 1e3, 2),
            "busy_ms": round(median(one.busy_s for one in each) * 1e3, 2),
            "wait_share": round(median(one.wait_s / one.iteration_s for one in each), 4),
            "exchange_share": round(median(one.exchange_s / one.iteration_s for one in each), 4),
            "cpu_ms": round(median(one.cpu_s for one in each) * 1e3, 2),
            "sent_bytes": round(each[0].sent_bytes),
        }
    if "net1" in own[0]:
        record["exchange_share"] = round(
            median(
                sum(one.exchange_s for one in turn.values()) / _iteration_s(turn) for turn in own
            ),
            4,
        )
        record["limit"] = round(median(map(_limit, turns["alternating"])), 3)
    if name.startswith("overlapped"):
        pairs = list(zip(turns["alternating"], own))
        record["over_alternating"] = _ratio(_iteration_s(a) / _iteration_s(b) for a, b in pairs)
        # With the busy times of this contender: recomputing adds to net1's.
        record["limit_over_alternating"] = _ratio(
            _iteration_s(a) / max(role.busy_s for role in b.values()) for a, b in pairs
        )
    if name != "single" and turns.get("single"):
        record["over_single"] = _ratio(
            _iteration_s(s) / _iteration_s(t) for s, t in zip(turns["single"], own)
        )
    return record


def _limit(turn: Turn) -> float:
    """(t1 + t2) / max(t1, t2), from the busy times of taking turns."""
    busy = [role.busy_s for role in turn.values()]
    return sum(busy) / max(busy)


def _iteration_s(turn: Turn) -> float:
    return max(role.iteration_s for role in turn.values())


def _ratio(values: Iterable[float]) -> float:
    return round(median(values), 3)
