"""The most that a cut can give: memory of the whole net over memory of the larger half."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualnet.bench.cuts import Case, single_net
from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.graph import read_solver, set_batch_size, solver_states
from dualnet.cut.plan.memory import Memory
from dualnet.cut.shapes import Built, build
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split.flow import find_flow
from dualnet.cut.split.partition import find_partition

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
    dataflow = DataflowGraph(net, path, ("TRAIN",), solver_states(solver))
    built = build(dataflow, "TRAIN", {})
    learning = built.learning(dataflow)
    partition = find_partition(dataflow, config.cut.blobs, list(config.cut.dual))
    flow = find_flow(partition, learning)
    memory = Memory(dataflow, built, solver.type or "SGD")
    up = _bytes(built, [*flow.blobs, *flow.labels])
    down = _bytes(built, [pair.version for pair in flow.compared])
    # As dualnet/cut/plan/estimate.py has it.
    net1 = memory.of([*partition.lower, *partition.dual], fed=down, buffers=down)
    net2 = memory.of([*partition.dual, *partition.upper], fed=up, buffers=down)
    return memory.of(dataflow.used["TRAIN"]) / max(net1, net2)


def _bytes(built: Built, versions: Iterable[Any]) -> int:
    return sum(_size(built, version) for version in versions)


def _size(built: Built, version: BlobVersion) -> int:
    size = 4
    for dim in built.blobs[version.name]:
        size *= dim
    return size
