"""The most that a cut can give: memory of the whole net over memory of the larger half."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualnet.bench.cuts import Case, single_net
from dualnet.cut.graph import read_solver, set_batch_size, solver_states
from dualnet.cut.plan.memory import Memory
from dualnet.cut.shapes import Built, build
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split.flow import find_flow
from dualnet.cut.split.sides import find_sides
from dualnet.cut.wiring import Stream, Wiring

__all__ = ["memory_limit"]


def memory_limit(case: Case, batch: int) -> float:
    """What `dualnet plan` calls the memory limit, for a case's cut.

    Args:
        case: Its config names the single net and the cut.
        batch: Samples of a batch.

    Raises:
        ConfigError: The single net cannot be cut so; the halves were written by hand.
    """
    path, config = single_net(case.config, case.path), case.config
    solver = read_solver(config.single.solver)
    net = net_of(solver, config.single.solver).net
    for layer in net.layer:
        set_batch_size(layer, batch)
    wiring = Wiring(net, path, ("TRAIN",), solver_states(solver))
    built = build(wiring, "TRAIN", {})
    learning = built.learning(wiring)
    sides = find_sides(wiring, config.cut.blobs, list(config.cut.dual))
    flow = find_flow(sides, learning)
    memory = Memory(wiring, built, solver.type or "SGD")
    up = _bytes(built, [*flow.blobs, *flow.labels])
    down = _bytes(built, [pair.stream for pair in flow.compared])
    # As dualnet/cut/plan/estimate.py has it.
    net1 = memory.of([*sides.lower, *sides.dual], fed=down, buffers=down)
    net2 = memory.of([*sides.dual, *sides.upper], fed=up, buffers=down)
    return memory.of(wiring.used["TRAIN"]) / max(net1, net2)


def _bytes(built: Built, streams: Iterable[Any]) -> int:
    return sum(_size(built, stream) for stream in streams)


def _size(built: Built, stream: Stream) -> int:
    size = 4
    for dim in built.blobs[stream.name]:
        size *= dim
    return size
