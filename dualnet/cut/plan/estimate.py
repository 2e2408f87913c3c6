"""What a cut costs: time and memory of both halves, from the single net's layers.

One iteration of the alternating schedule, time downwards; F, B, U are forward, backward and update
of net1 and net2, D the dual section, X one message:

    net1                        net2
    F1
    X up -------------------->
    D1 forward                  F2, B2, target
              <---------------- X down
    loss, B1, U1                U2

    iteration = F1 + X up + max(D1, F2 + B2 + target) + X down + loss + B1 + U1

and in the overlapped one, where net1 runs ahead, each half is only as slow as its own work:

    iteration = max(F1 + D1 + loss + B1 + U1 + X, F2 + B2 + target + U2 + X)

where an update has several batches (iter_size), all but U counts so many times. X is the half's
own part in the messages. That holds where each half has cores (or a GPU) of its own, as many as
were measured on. Where both share them, all work adds up in either schedule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.cuts import Cut
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.times import LayerTimes
from dualnet.cut.shapes import Built

__all__ = ["Estimate", "HalfCost", "estimate", "single_cost"]

#: A poll comes late by half a pause, which is 5 % of the wait (exchange/files/polling.py).
_LATE_SHARE, _LATEST_S = 0.5 * 0.05, 0.5 * 0.02
#: Passes over the compared arrays in net1's loss, forward and backward.
_LOSS_PASSES = 4


@dataclass(frozen=True)
class HalfCost:
    """One half, or the single net.

    Attributes:
        parameters: Numbers that training changes, dual layers included.
        forward_s, backward_s, update_s: Of one iteration; net1's forward includes its dual layers,
            its backward its losses.
        memory_bytes: Blobs, weights and solver history.
    """

    parameters: int
    forward_s: float
    backward_s: float
    update_s: float
    memory_bytes: int

    @property
    def seconds(self) -> float:
        """All work of an iteration."""
        return self.forward_s + self.backward_s + self.update_s


@dataclass(frozen=True)
class Estimate:
    """A cut and what it costs.

    Attributes:
        cut: The cut.
        net1, net2: The halves.
        up_bytes, down_bytes: Arrays of one iteration.
        alternating_s, overlapped_s: An iteration, as the cores are said to be.
        memory_limit: The single net's memory over the larger half's: how much larger the batch may
            be, as far as memory grows with it.
    """

    cut: Cut
    net1: HalfCost
    net2: HalfCost
    up_bytes: int
    down_bytes: int
    alternating_s: float
    overlapped_s: float
    memory_limit: float

    @property
    def largest_bytes(self) -> int:
        """Memory of the larger half."""
        return max(self.net1.memory_bytes, self.net2.memory_bytes)


def single_cost(
    dataflow: DataflowGraph, built: Built, times: LayerTimes, memory: Memory, passes: int = 1
) -> HalfCost:
    """The uncut net; `passes` as of `estimate`."""
    layers = dataflow.used["TRAIN"]
    return HalfCost(
        memory.parameters(layers), passes * _sum(layers, times.forward),
        passes * _sum(layers, times.backward), times.update, memory.of(layers),
    )  # fmt: skip


def estimate(
    cut: Cut,
    built: Built,
    times: LayerTimes,
    carrier: Carrier,
    memory: Memory,
    shared: bool,
    passes: int = 1,
) -> Estimate:
    """What a cut costs.

    Args:
        cut: The cut.
        built: Shapes of the blobs in phase TRAIN.
        times: Of the single net's layers.
        carrier: The way between the halves.
        memory: Adds up blobs and weights.
        shared: Whether both halves run on the same cores.
        passes: Batches of an update, each exchanged by itself.
    """
    dataflow = cut.partition.dataflow
    in_training = set(dataflow.used["TRAIN"])
    lower, dual, upper = (
        [number for number in numbers if number in in_training]
        for numbers in (cut.partition.lower, cut.partition.dual, cut.partition.upper)
    )
    compared = [pair.version for pair in cut.flow.compared]
    up = _bytes(built, [*cut.flow.blobs, *cut.flow.labels])
    down = _bytes(built, compared)
    per_parameter_s = times.update / max(1, memory.parameters(dataflow.used["TRAIN"]))
    touch_s = times.touch_per_byte * down
    own_1, own_2 = memory.parameters([*lower, *dual]), memory.parameters([*dual, *upper])
    forward_dual = _sum(dual, times.forward)
    net1 = HalfCost(
        own_1,
        passes * (_sum(lower, times.forward) + forward_dual),
        passes * (_sum([*lower, *dual], times.backward) + _LOSS_PASSES * touch_s),
        own_1 * per_parameter_s,
        memory.of([*lower, *dual], fed=down, buffers=down),
    )
    net2 = HalfCost(
        own_2,
        passes * (forward_dual + _sum(upper, times.forward)),
        passes * (_backward_above(cut, sorted([*dual, *upper]), times, memory) + touch_s),
        own_2 * per_parameter_s,
        memory.of([*dual, *upper], fed=up, buffers=down),
    )
    messages_s = passes * (carrier.one_way_s(up) + carrier.one_way_s(down))
    if shared:
        # Who waits computes nothing, but the other does not get faster by it.
        alternating_s = overlapped_s = net1.seconds + net2.seconds + messages_s
    else:
        answer_s = net2.forward_s + net2.backward_s
        dual_s = passes * forward_dual
        rest_s = net1.seconds - dual_s
        late_s = sum(min(_LATE_SHARE * wait, passes * _LATEST_S) for wait in (answer_s, rest_s))
        alternating_s = rest_s + messages_s + late_s + max(dual_s, answer_s)
        overlapped_s = max(net1.seconds, net2.seconds) + messages_s / 2
    limit = memory.of(dataflow.used["TRAIN"]) / max(net1.memory_bytes, net2.memory_bytes)
    return Estimate(cut, net1, net2, passes * up, passes * down, alternating_s, overlapped_s, limit)


def _backward_above(cut: Cut, layers: Iterable[int], times: LayerTimes, memory: Memory) -> float:
    """Backward time of net2: less than in the single net, as nothing goes down past its input.

    Layers with weights spend half on the gradient of their weights and half on that of their
    bottoms, which is left out where nothing below learns (net.cpp, bottom_need_backward).
    """
    dataflow = cut.partition.dataflow
    if cut.flow.needs_force:
        return _sum(layers, times.backward)
    total, learnt = 0.0, set()
    for number in layers:
        seconds = times.backward.get(number, 0.0)
        passes = any(version in learnt for version in dataflow.reads[number])
        learns = memory.learns(number)
        if passes or learns:
            learnt.update(dataflow.makes[number])
            total += seconds if passes else seconds / 2
    return total


def _sum(layers: Iterable[int], seconds: dict[int, float]) -> float:
    return sum(seconds.get(number, 0.0) for number in layers)


def _bytes(built: Built, versions: Iterable[BlobVersion]) -> int:
    total = 0
    for version in versions:
        size = 4
        for dim in built.blobs[version.name]:
            size *= dim
        total += size
    return total
