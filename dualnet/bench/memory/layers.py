"""A net's memory by layer: what Caffe allocates, counted, and the workspace on top, measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.bench.memory.usage import Usage
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import solver_states
from dualnet.cut.inserted import places_of
from dualnet.cut.plan.memory import Memory
from dualnet.cut.shapes import built_of
from dualnet.training.net.nets import Nets

__all__ = ["count_layers", "layer_table"]

_MIB = 2.0**20
#: Blobs of solver history for each weight (src/caffe/solvers).
_SLOTS = {"AdaDelta": 2, "Adam": 2}
#: In the place of a layer: the update.
_UPDATE = -1


def layer_table(nets: Nets, usage: Usage) -> list[dict[str, Any]]:
    """Rows for the layers in forward order, then one for the update.

    Args:
        nets: Of a piece whose inputs may be fed or not; they are run forward and backward twice.
        usage: Measures the workspace; where it has no peak of a stretch, that is None.

    Returns:
        For each layer `data`, `diff`, `params` (values and gradients), `history` as counted and
        `workspace` as measured, all in MiB.
    """
    rows = count_layers(nets)
    workspace = _workspaces(nets, usage)
    for place, row in enumerate(rows):
        row["workspace"] = workspace.get(place)
    update = {"layer": "(update)", "type": nets.resolved.solver.type or "SGD"}
    zero = dict.fromkeys(("data", "diff", "params", "history"), 0.0)
    return [*rows, {**update, **zero, "workspace": workspace.get(_UPDATE)}]


def count_layers(nets: Nets) -> list[dict[str, Any]]:
    """The rows without workspace: a blob counts where it is made, and once."""
    net = nets.train.net
    dataflow = DataflowGraph(
        nets.resolved.net, nets.resolved.dir.net, ("TRAIN",), solver_states(nets.resolved.solver)
    )
    built = built_of(net, dataflow, "TRAIN")
    solver_type = nets.resolved.solver.type or "SGD"
    memory = Memory(dataflow, built, solver_type)
    used = dataflow.used["TRAIN"]
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    before = 0
    for count, number in enumerate(used, 1):
        layer = dataflow.layers[number]
        total = memory.of(used[:count])
        grown, before = total - before, total
        made = {version.name for version in dataflow.makes[number]} - seen
        seen |= made
        data = sum(4 * int(np.prod(built.blobs[name], dtype=np.int64)) for name in made)
        weights = 4 * sum(
            int(np.prod(shape, dtype=np.int64)) for shape in built.parameters.get(number, [])
        )
        history = weights * _SLOTS.get(solver_type, 1)
        parts = {"data": data, "diff": grown - data - 2 * weights - history,
                 "params": 2 * weights, "history": history}  # fmt: skip
        rows.append(
            {"layer": layer.name, "type": layer.type, **{k: v / _MIB for k, v in parts.items()}}
        )
    return rows


def _workspaces(nets: Nets, usage: Usage) -> dict[int, float]:
    """A layer's place to its workspace in MiB.

    That is the peak while it ran, less the larger of what was in use before and after.
    """
    net = nets.train.net
    owners = places_of(net)
    found: dict[int, float] = {}
    for is_measured in (False, True):
        steps = [(owners[i], net._forward, i) for i in range(len(owners))]
        steps += [(owners[i], net._backward, i) for i in reversed(range(len(owners)))]
        steps.append((_UPDATE, lambda first, last: nets.update(), 0))
        for owner, run, i in steps:
            if not usage.reset():
                return {}
            before = usage.now()
            run(i, i)
            extra = max(0.0, usage.peak() - max(before, usage.now()))
            if is_measured:
                found[owner] = max(found.get(owner, 0.0), extra)
    return found
