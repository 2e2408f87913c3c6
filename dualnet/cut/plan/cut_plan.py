"""A plan: all cuts of a net, and the chain to make of them under each schedule."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Callable, Optional, Union

from dualnet.cut.check import check_iter_size
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_solver, set_batch_size, solver_states
from dualnet.cut.plan.carrier import measure_carrier
from dualnet.cut.plan.chains import Chain, Setting, chain_of, fastest_chain, smallest_chain
from dualnet.cut.plan.choice import Choice, SingleNet, choose
from dualnet.cut.plan.cuts import Cut, Refusal, find_cuts
from dualnet.cut.plan.estimate import Costs
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.schedule_time import PROMPT, Polling, alternating, overlapped, pipelined
from dualnet.cut.plan.times import measure_layers
from dualnet.cut.shapes import Built, build
from dualnet.cut.split import solver_beside
from dualnet.cut.split.single import single_net
from dualnet.errors import ConfigError, UsageError

__all__ = ["SCHEDULES", "CutPlan", "Measured", "Request", "make_plan", "measure", "plan"]

SCHEDULES = ("alternating", "overlapped", "pipelined")
#: Micro-batches of a batch where nothing else is said, as far as they divide it.
_MICRO_BATCHES = 4
#: Mean polling delay of files: half the poll interval, which is 5 % of the wait, at most 20 ms
#: (exchange/files/polling.py).
_POLLING = Polling(0.5 * 0.05, 0.5 * 0.02)


@dataclass(frozen=True)
class Request:
    """What to plan for.

    Attributes:
        net: The single net's train_test prototxt.
        solver: Its solver; default the one beside `net` that its name suggests.
        pieces: How many pieces the net is to be cut into, 2 or more.
        device: `cpu`, or the number of a GPU.
        threads: CPU threads of a piece, which the times are measured with, for the record.
        batch: Samples of a batch; default the prototxt's.
        exchange_dir: Directory through which messages are timed.
        carrier: What carries them, as exchange.carrier in the YAML.
        latency_s: A delay of each message that a network adds to what is measured here.
        bytes_per_s: Its rate; None: as measured.
        shapes: Blob of a data layer to the shape of one sample, for data that is not here.
        processors: How many pieces compute at a time, where all are on one machine; None: each
            has cores (or a GPU) of its own.
        target: What pieces answer: `backprop`, or `gradient` for all rules that compare outputs
            once a batch.
        schedule: Whose best chain is recommended, one of `SCHEDULES`.
        staleness: Of the overlapped schedule.
        micro_batches: Of the pipelined schedule; default 4, 3 or 2, as divides the batch.
        micro_batch_order: Theirs, `1f1b` or `gpipe`.
        limit_bytes: Memory that a piece may need; None: any.
        repeats: Iterations to measure.
    """

    net: str
    solver: Optional[str] = None
    pieces: int = 2
    device: Union[str, int] = "cpu"
    threads: int = 1
    batch: Optional[int] = None
    exchange_dir: str = "."
    carrier: str = "files"
    latency_s: float = 0.0
    bytes_per_s: Optional[float] = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    processors: Optional[int] = None
    target: str = "gradient"
    schedule: str = "alternating"
    staleness: int = 1
    micro_batches: Optional[int] = None
    micro_batch_order: str = "1f1b"
    limit_bytes: Optional[int] = None
    repeats: int = 7


@dataclass(frozen=True)
class Measured:
    """What a plan rests on.

    Attributes:
        name: The net's.
        batch: Samples of a batch.
        iter_size: Batches of an update.
        micro_batches: Of a batch, where the schedule is pipelined; 1: the batch cannot be divided.
        costs: Of a batch, where one piece computes at a time.
        busy_costs: Of a batch, where as many pieces compute as there are processors: on a machine
            that they share, each is then slower.
        part_costs: Of a micro-batch, likewise.
        grown_bytes: By how much the process grew by the single net.
        cuts: Every cut, in forward order.
        refusals: Every other blob, with the reason.
    """

    name: str
    batch: int
    iter_size: int
    micro_batches: int
    costs: Costs
    busy_costs: Costs
    part_costs: Costs
    grown_bytes: int
    cuts: list[Cut]
    refusals: list[Refusal]

    def settings(self, request: Request) -> dict[str, Setting]:
        """Each schedule, by its name."""
        machine = (request.processors, _POLLING if request.carrier == "files" else PROMPT)
        passes, parts = self.iter_size, self.iter_size * self.micro_batches
        return {
            "alternating": Setting(self.costs, lambda count: alternating(count, passes), *machine),
            "overlapped": Setting(
                self.busy_costs,
                lambda count: overlapped(count, request.staleness, passes),
                *machine,
            ),
            "pipelined": Setting(
                self.part_costs,
                lambda count: pipelined(count, parts, request.micro_batch_order),
                *machine,
            ),
        }

    @property
    def single(self) -> SingleNet:
        """An iteration of the single net."""
        single = self.costs.single
        seconds = self.iter_size * (single.forward_s + single.backward_s) + single.update_s
        return SingleNet(seconds, single.memory_bytes())


@dataclass(frozen=True)
class CutPlan:
    """What was found.

    Attributes:
        request: What was asked.
        measured: What it rests on.
        single: An iteration of the single net.
        cuts: Every cut as a chain of two pieces, in forward order.
        choices: What is best under each schedule, by its name.
    """

    request: Request
    measured: Measured
    single: SingleNet
    cuts: list[Chain]
    choices: dict[str, Choice]

    @property
    def choice(self) -> Choice:
        """That of the schedule that was asked for."""
        return self.choices[self.request.schedule]

    @property
    def best(self) -> Optional[Chain]:
        """The chain to take; None if none is better than the single net."""
        return self.choice.chain if self.choice.helps else None


@dataclass(frozen=True)
class _Built:
    """A net at one batch size."""

    dataflow: DataflowGraph
    built: Built

    @property
    def batch(self) -> int:
        """Samples of a batch."""
        for number in self.dataflow.used["TRAIN"]:
            for version in self.dataflow.makes[number]:
                shape = self.built.blobs[version.name]
                if shape and not self.dataflow.layers[number].bottom:
                    return int(shape[0])
        raise ConfigError(
            f"{self.dataflow.path}: no data layer in phase TRAIN; nothing says the batch size"
        )


def plan(
    request: Request, progress: Callable[[int, int], None] = lambda done, all: None
) -> CutPlan:
    """Measure a net, and find the best chains; see `measure` and `make_plan`."""
    return make_plan(request, measure(request, progress))


def measure(
    request: Request, progress: Callable[[int, int], None] = lambda done, all: None
) -> Measured:
    """Find the cuts of a net, and measure what its layers and messages need.

    Args:
        request: The net and the machine.
        progress: Called with (iterations done, iterations in all) while layers are timed.

    Raises:
        ConfigError: A prototxt cannot be read or built, or the data is not here.
        UsageError: The batch cannot be divided into that many micro-batches.
        StorageFailed: The exchange directory cannot be used.
    """
    solver_path = request.solver or solver_beside(request.net)
    solver = read_solver(solver_path)
    check_iter_size(solver, solver_path)
    net = single_net(request.net, solver, solver_path).net
    whole = _build(net, request, solver, request.batch)
    part, micro_batches = _micro_batch(net, request, solver, whole)
    cuts, refusals = find_cuts(whole.dataflow, whole.built.learning(whole.dataflow))
    blobs = [version for cut in cuts for version in (*cut.flow.blobs, *_compared(cut))]
    largest = max((4 * prod(whole.built.blobs[version.name]) for version in blobs), default=0)
    carrier = measure_carrier(request.exchange_dir, largest, request.carrier)._replace(
        latency_s=request.latency_s,
        wire_s=1 / request.bytes_per_s if request.bytes_per_s else 0.0,
    )
    is_shared = request.processors is not None and request.device == "cpu"
    company = min(request.processors or 1, request.pieces) - 1 if is_shared else 0
    runs: list[tuple[_Built, int]] = [(whole, 0)]
    if company:
        runs.append((whole, company))
    if part is not None:
        runs.append((part, company))
    costs, grown = [], []
    for number, (size, others) in enumerate(runs):

        def show(done: int, all_of_one: int, before: int = number) -> None:
            progress(before * all_of_one + done, len(runs) * all_of_one)

        times = measure_layers(
            size.dataflow, size.built, solver, request.device, request.shapes, request.repeats,
            show, others,
        )  # fmt: skip
        memory = Memory(size.dataflow, size.built, solver.type or "SGD")
        costs.append(Costs(size.dataflow, size.built, times, carrier, memory, request.target))
        grown.append(times.grown_bytes)
    return Measured(
        net.name or os.path.basename(request.net), whole.batch, int(solver.iter_size),
        micro_batches, costs[0], costs[min(company, 1)], costs[-1], grown[0], cuts, refusals,
    )  # fmt: skip


def make_plan(request: Request, measured: Measured) -> CutPlan:
    """The plan that follows from what was measured."""
    settings, cuts, pieces = measured.settings(request), measured.cuts, request.pieces
    choices = {}
    for schedule, setting in settings.items():
        found = (
            fastest_chain(cuts, pieces, setting, request.limit_bytes),
            smallest_chain(cuts, pieces, setting),
        )
        fastest, smallest = (chain_of(chain, settings) if chain else None for chain in found)
        choices[schedule] = choose(
            schedule, pieces, fastest, smallest, measured.single, request.limit_bytes
        )
    return CutPlan(
        request, measured, measured.single, [chain_of([cut], settings) for cut in cuts], choices
    )


def _build(net: Any, request: Request, solver: Any, batch: Optional[int]) -> _Built:
    sized = type(net)()
    sized.CopyFrom(net)
    if batch:
        for layer in sized.layer:
            set_batch_size(layer, batch)
    dataflow = _connect(sized, request.net, solver)
    return _Built(dataflow, build(dataflow, "TRAIN", request.shapes))


def _micro_batch(
    net: Any, request: Request, solver: Any, whole: _Built
) -> tuple[Optional[_Built], int]:
    """The net at the size of a micro-batch, and how many there are; None and 1 if it has none."""
    asked = request.micro_batches
    most = asked or _MICRO_BATCHES
    count = next(n for n in range(most, 0, -1) if whole.batch % n == 0 or asked == n)
    if count == 1:
        return None, 1
    part = None
    if whole.batch % count == 0:
        part = _build(net, request, solver, whole.batch // count)
    if part is None or part.batch * count != whole.batch:
        if asked:
            raise UsageError(
                f"--micro-batches {asked}: the batch of {whole.batch} samples cannot be divided "
                "into so many (a data layer's own batch size has to be changeable)"
            )
        return None, 1
    return part, count


def _connect(net: Any, path: str, solver: Any) -> DataflowGraph:
    """Both phases, as both have to be cut; TRAIN alone where the net is not tested."""
    states = solver_states(solver)
    try:
        return DataflowGraph(net, path, states=states)
    except ConfigError:
        if solver.test_iter:
            raise
        return DataflowGraph(net, path, ("TRAIN",), states)


def _compared(cut: Cut) -> list[Any]:
    return [pair.version for pair in cut.flow.compared]
