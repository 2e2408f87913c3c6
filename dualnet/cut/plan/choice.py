"""A plan: all cuts of a net with their costs, and the one to take."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from dualnet.cut.check import check_iter_size
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_solver, set_batch_size, solver_states
from dualnet.cut.plan.carrier import Carrier, measure_carrier
from dualnet.cut.plan.cuts import Refusal, find_cuts
from dualnet.cut.plan.estimate import Estimate, HalfCost, estimate, single_cost
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.times import measure_layers
from dualnet.cut.shapes import build
from dualnet.cut.split import solver_beside
from dualnet.cut.split.single import single_net
from dualnet.errors import ConfigError

__all__ = ["SCHEDULES", "Plan", "Request", "plan", "recommend"]

SCHEDULES = ("alternating", "overlapped")
#: A cut counts as good as the one that needs least memory if it needs so much more at most.
_TOLERANCE = 0.05
#: What a cut has to save of the single net's memory, or time, to be worth it.
_WORTH = 0.01


@dataclass(frozen=True)
class Request:
    """What to plan for.

    Attributes:
        net: The single net's train_test prototxt.
        solver: Its solver; default the one beside `net` that its name suggests.
        device: `cpu`, or the number of a GPU.
        threads: CPU threads that the times are measured with, for the record.
        batch: Samples of a batch; default the prototxt's.
        exchange_dir: Directory through which messages are timed.
        shapes: Blob of a data layer to the shape of one sample, for data that is not here.
        shared: Whether both halves run on the same cores.
        schedule: Whose time decides between cuts of equal memory, one of `SCHEDULES`.
        repeats: Iterations to measure.
    """

    net: str
    solver: Optional[str] = None
    device: Union[str, int] = "cpu"
    threads: int = 1
    batch: Optional[int] = None
    exchange_dir: str = "."
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    shared: bool = False
    schedule: str = "alternating"
    repeats: int = 7


@dataclass(frozen=True)
class Plan:
    """What was found.

    Attributes:
        request: What was asked.
        name: The net's.
        batch: Samples of a batch.
        iter_size: Batches of an update; times and bytes are those of an update.
        single: The uncut net.
        single_measured_bytes: By how much the process grew by it.
        cuts: Every cut, in forward order.
        refusals: Every other blob, with the reason.
        carrier: The measured way between the halves.
        best: The cut to take, None if there is none.
        reason: Why that one.
    """

    request: Request
    name: str
    batch: int
    iter_size: int
    single: HalfCost
    single_measured_bytes: int
    cuts: list[Estimate]
    refusals: list[Refusal]
    carrier: Carrier
    best: Optional[Estimate]
    reason: str


def plan(request: Request, progress: Callable[[int, int], None] = lambda done, all: None) -> Plan:
    """Find the cuts of a net and measure what they need.

    Args:
        request: The net and the machine.
        progress: Called with (iterations done, iterations in all) while layers are timed.

    Raises:
        ConfigError: A prototxt cannot be read or built, or the data is not here.
        StorageFailed: The exchange directory cannot be used.
    """
    solver_path = request.solver or solver_beside(request.net)
    solver = read_solver(solver_path)
    check_iter_size(solver, solver_path)
    net = single_net(request.net, solver, solver_path).net
    if request.batch:
        for layer in net.layer:
            set_batch_size(layer, request.batch)
    dataflow = _connect(net, request.net, solver)
    built = build(dataflow, "TRAIN", request.shapes)
    learning = built.learning(dataflow)
    cuts, refusals = find_cuts(dataflow, learning)
    memory = Memory(dataflow, built, solver.type or "SGD")
    blobs = [version for cut in cuts for version in (*cut.flow.blobs, *_compared(cut))]
    largest = max((_size(built.blobs[version.name]) for version in blobs), default=0)
    carrier = measure_carrier(request.exchange_dir, largest)
    times = measure_layers(
        dataflow, built, solver, request.device, request.shapes, request.repeats, progress
    )
    passes = int(solver.iter_size)
    estimates = [
        estimate(cut, built, times, carrier, memory, request.shared, passes) for cut in cuts
    ]
    single = single_cost(dataflow, built, times, memory, passes)
    best, reason = recommend(estimates, single, request.schedule)
    return Plan(
        request, net.name or os.path.basename(request.net), _batch_of(dataflow, built), passes,
        single, times.grown_bytes, estimates, refusals, carrier, best, reason,
    )  # fmt: skip


def _connect(net: Any, path: str, solver: Any) -> DataflowGraph:
    """Both phases, as both have to be cut; TRAIN alone where the net is not tested."""
    states = solver_states(solver)
    try:
        return DataflowGraph(net, path, states=states)
    except ConfigError:
        if solver.test_iter:
            raise
        return DataflowGraph(net, path, ("TRAIN",), states)


def recommend(
    cuts: Sequence[Estimate], single: HalfCost, schedule: str
) -> tuple[Optional[Estimate], str]:
    """The cut whose larger half needs least memory, and of several like it the fastest.

    Memory is what a net is cut for; the time of the alternating schedule is least where next to
    nothing is cut off.

    A cut that needs as much memory as the single net, and takes longer, helps nobody.

    Returns:
        The cut, None if there is none that helps, and why.
    """
    if not cuts:
        return None, "the net cannot be cut in two"
    least = min(cut.largest_bytes for cut in cuts)
    good = [cut for cut in cuts if cut.largest_bytes <= (1 + _TOLERANCE) * least]
    best = min(good, key=lambda cut: getattr(cut, f"{schedule}_s"))
    others = f"the fastest {schedule} of {len(good)} like it" if len(good) > 1 else "the only such"
    saved = 1 - best.largest_bytes / single.memory_bytes
    if saved < _WORTH:
        fastest = min(cuts, key=lambda cut: getattr(cut, f"{schedule}_s"))
        time_s = getattr(fastest, f"{schedule}_s")
        if time_s >= (1 - _WORTH) * single.seconds:
            return None, (
                f"no cut helps: the larger half of each needs {_mib(least)} MiB or more, the "
                f"single net {_mib(single.memory_bytes)}, and an iteration takes "
                f"{time_s * 1e3:.3g} ms or more {schedule}, the single net's "
                f"{single.seconds * 1e3:.3g}"
            )
        return fastest, (
            f"No cut saves memory; this one is the fastest {schedule}, "
            f"{1 - time_s / single.seconds:.0%} less time than the single net's iteration"
        )
    return best, (
        f"Its larger half needs {_mib(best.largest_bytes)} MiB, {saved:.0%} less than the single "
        f"net and within {_TOLERANCE:.0%} of the least possible; {others}"
    )


def _mib(size: int) -> str:
    value = size / 2**20
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _compared(cut: Any) -> list[Any]:
    return [pair.version for pair in cut.flow.compared]


def _size(shape: Sequence[int]) -> int:
    size = 4
    for dim in shape:
        size *= dim
    return size


def _batch_of(dataflow: DataflowGraph, built: Any) -> int:
    for number in dataflow.used["TRAIN"]:
        for version in dataflow.makes[number]:
            shape = built.blobs[version.name]
            if shape and not dataflow.layers[number].bottom:
                return int(shape[0])
    raise ConfigError(f"{dataflow.path}: no data layer in phase TRAIN; nothing says the batch size")
