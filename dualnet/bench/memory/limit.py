"""The most that a chain can give: memory of the whole net over memory of the largest piece."""

from __future__ import annotations

from dualnet.bench.cuts import Case, single_net
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_solver, set_batch_size, solver_states
from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.cuts import Cut
from dualnet.cut.plan.estimate import Costs
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.times import LayerTimes
from dualnet.cut.shapes import build
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split.flow import find_flow
from dualnet.cut.split.partition import find_partition

__all__ = ["memory_limit"]

#: Only memory is asked for.
_NO_TIMES = LayerTimes({}, {}, 0.0, 0.0, 0)
_NO_CARRIER = Carrier([1], [1.0], [0.5])


def memory_limit(case: Case, batch: int) -> float:
    """What `dualnet plan` counts for a chain.

    Args:
        case: The chain; its config names the single net.
        batch: Samples of a batch.

    Raises:
        ConfigError: The single net cannot be cut so; the pieces were written by hand.
    """
    path, config = single_net(case.config, case.path), case.config
    solver = read_solver(config.single.solver)
    net = net_of(solver, config.single.solver).net
    for layer in net.layer:
        set_batch_size(layer, batch)
    dataflow = DataflowGraph(net, path, ("TRAIN",), solver_states(solver))
    built = build(dataflow, "TRAIN", {})
    learning = built.learning(dataflow)
    memory = Memory(dataflow, built, solver.type or "SGD")
    costs = Costs(dataflow, built, _NO_TIMES, _NO_CARRIER, memory, config.coupling.target)
    cuts = []
    for at, dual in case.cuts:
        partition = find_partition(dataflow, at, dual)
        cuts.append(Cut(at, dual, partition, find_flow(partition, learning)))
    ends = [None, *cuts, None]
    pieces = [costs.piece(below, above) for below, above in zip(ends, ends[1:])]
    return costs.single.memory_bytes() / max(piece.memory_bytes() for piece in pieces)
