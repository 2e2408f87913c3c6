"""`dualnet bench overlap`: a chain's schedules and the single net, side by side.

Every variant is a real training in processes of its own, which have cores of their own where there
are enough. The measurements are interleaved: in each round every variant is timed once, each round
begins with another, and ratios are taken within a round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from dualnet.bench.cuts import Case, cases
from dualnet.bench.machine import machine
from dualnet.bench.schedules.summary import TimedRun, Variant, iteration_s, summary
from dualnet.bench.schedules.timed_run import Place, timed_run
from dualnet.errors import UsageError

__all__ = ["OverlapRequest", "bench_overlap", "variants"]

Record = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class OverlapRequest:
    """What to measure.

    Attributes:
        config: The YAML file.
        overrides: What `--set` says.
        chains: Chains to compare, each by the cuts of its single net (dualnet/bench/cuts.py);
            empty: the config's own.
        iterations: Those that are measured, of each training.
        warm_up: Those before them.
        rounds: How often each variant is trained.
        cores_each: Cores of each piece; None: an equal share, or where there are fewer cores than
            pieces all of them with one thread each.
        staleness: Of the overlapped variants.
        activations: What they do with the batches that wait: `keep`, `recompute`.
        micro_batches: Of the pipelined variants.
    """

    config: str
    overrides: Sequence[str] = ()
    chains: Sequence[str] = ()
    iterations: int = 30
    warm_up: int = 5
    rounds: int = 3
    cores_each: Optional[int] = None
    staleness: Sequence[int] = (1, 2)
    activations: Sequence[str] = ("keep", "recompute")
    micro_batches: Sequence[int] = (4,)

    def __post_init__(self) -> None:
        counts = (self.iterations, self.warm_up, self.rounds, *self.staleness, *self.micro_batches)
        if min(counts) < 1:
            raise UsageError(
                f"--iterations {self.iterations}, --warm-up {self.warm_up}, --rounds "
                f"{self.rounds}, --staleness {_words(self.staleness)}, --micro-batches "
                f"{_words(self.micro_batches)}: each must be 1 or more"
            )

    def places(self, pieces: Sequence[str]) -> dict[str, Place]:
        """The cores of each piece, and of the single net, which gets as many as all of them.

        Raises:
            UsageError: There are not enough.
        """
        allowed, count = sorted(os.sched_getaffinity(0)), len(pieces)
        if self.cores_each is None and len(allowed) < count:
            together = Place(allowed, threads=1)
            return {**dict.fromkeys(pieces, together), "single": Place(allowed)}
        each = self.cores_each if self.cores_each is not None else len(allowed) // count
        if not 1 <= each <= len(allowed) // count:
            raise UsageError(
                f"--cores-each {each}: {count} pieces need {max(1, each) * count} cores, and this "
                f"process may use {len(allowed)}; give them fewer, or this process more"
            )
        own = {
            piece: Place(allowed[place * each : (place + 1) * each])
            for place, piece in enumerate(pieces)
        }
        return {**own, "single": Place(allowed[: count * each])}


def bench_overlap(request: OverlapRequest, say: Say = lambda line: None) -> Iterator[Record]:
    """Train the variants in rotating order.

    Args:
        request: What to measure.
        say: Takes a line on every training.

    Yields:
        The machine; then for each chain a record for each variant, `alternating` first.

    Raises:
        UsageError: There are not enough cores, or a config has no cut.
        TrainingFailed: A training failed.
    """
    yield {"bench": "overlap", **machine(), "iterations": request.iterations,
           "rounds": request.rounds}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases(request.config, request.overrides, request.chains, scratch):
            if not case.pieces:
                raise UsageError(f"{case.path}: it has one piece; name cuts, as --cut pool1:conv2")
            places = request.places(case.pieces)
            compared = variants(request, case, say)
            timed: dict[str, list[TimedRun]] = {variant.name: [] for variant in compared}
            for number in range(request.rounds):
                shift = number % len(compared)
                for variant in [*compared[shift:], *compared[:shift]]:
                    found = _train(request, case, places, variant)
                    timed[variant.name].append(found)
                    milliseconds = iteration_s(found) * 1e3
                    say(f"{case.chain} round {number + 1}: {variant.name} {milliseconds:.1f} ms")
            shared = len(places["single"].cores) < len(case.pieces)
            cores = {"cores_each": len(places["net1"].cores), "cores_shared": shared}
            for variant in compared:
                found_out = summary(timed, variant, shared)
                yield {**case.names, **cores, "variant": variant.name, **found_out}


def variants(request: OverlapRequest, case: Case, say: Say = lambda line: None) -> list[Variant]:
    """What is compared; `say` takes a line on each schedule that a rule of the chain forbids."""
    config = case.config
    rules = [config.coupling_of(index).rule for index in range(len(config.cuts))]
    found = [Variant("alternating", ("train.schedule=alternating",))]
    why = next(filter(None, (rule.one_batch_an_update for rule in rules)), "")
    if why and request.micro_batches:
        say(f"{case.chain}: not pipelined: {config.coupling.target}, {why}")
    for parts in () if why else request.micro_batches:
        pipelined = ("train.schedule=pipelined", f"train.micro_batches={parts}")
        found.append(Variant(f"pipelined {parts}", pipelined, parts=parts))
    why = next(filter(None, (rule.in_turns for rule in rules)), "")
    if why:
        say(f"{case.chain}: not overlapped: {config.coupling.target}, {why}")
    for activations in () if why else request.activations:
        for staleness in request.staleness:
            settings = (
                "train.schedule=overlapped", f"train.staleness={staleness}",
                f"train.stale_activations={activations}",
            )  # fmt: skip
            name = f"overlapped {staleness} {activations}"
            found.append(Variant(name, settings, is_overlapped=True))
    if config.single.solver:
        found.append(Variant("single"))
    return found


def _train(
    request: OverlapRequest, case: Case, places: Mapping[str, Place], variant: Variant
) -> TimedRun:
    pieces = ["single"] if variant.name == "single" else case.pieces
    # Batches that are ahead of the lowest piece's answers: the last iterations have fewer.
    tail = max(request.staleness, default=0) * (len(case.pieces) - 1) + 1
    chosen = {piece: places[piece] for piece in pieces}
    return timed_run(case, variant.settings, chosen, request.iterations, request.warm_up, tail)


def _words(values: Sequence[int]) -> str:
    return " ".join(map(str, values))
