"""What the pieces and links of a chain cost, from the measured layers of the single net.

A piece between two cuts has, from below: the dual layers of its lower cut, the layers between the
cuts, and a copy of the dual layers of its upper cut, which the piece above has too. With target
`backprop` that copy is there, but at rest: the gradient at the cut blobs comes down. What crosses a
cut does not depend on where else the net is cut: blobs that pass over a piece are relayed by it,
and are counted at each link.

A piece's cost therefore depends on its two cuts alone, which is what lets search.py put chains
together from pieces; schedule_time.py then plays a chain's schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.cuts import Cut
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.schedule_time import LinkTime, PieceTime
from dualnet.cut.plan.times import LayerTimes
from dualnet.cut.shapes import Built

__all__ = ["Costs", "LinkCost", "PieceCost"]

#: Passes over the compared arrays in the loss of the lower piece, forward and backward.
_LOSS_PASSES = 4


@dataclass(frozen=True)
class PieceCost:
    """A piece, or the single net; times are those of one batch (or micro-batch).

    Attributes:
        parameters: Numbers that training changes, those of dual layers included.
        forward_s: Up to what is sent up.
        dual_s: Forward of the copy of the layers that the piece above begins with.
        backward_s: With the losses and the target for the piece below.
        update_s: Of all its weights.
        fixed_bytes: Weights, their gradients, solver history, and buffers of the target and loss.
        batch_bytes: Blobs of one batch, and what came in with it.
    """

    parameters: int
    forward_s: float
    dual_s: float
    backward_s: float
    update_s: float
    fixed_bytes: int
    batch_bytes: int

    @property
    def seconds(self) -> float:
        """All its work on one batch."""
        return sum(self.time)

    @property
    def time(self) -> PieceTime:
        """As a schedule is played with."""
        return PieceTime(self.forward_s, self.dual_s, self.backward_s, self.update_s)

    def memory_bytes(self, kept: int = 1) -> int:
        """With the activations of so many batches."""
        return self.fixed_bytes + kept * self.batch_bytes


@dataclass(frozen=True)
class LinkCost:
    """What crosses a cut, for one batch (or micro-batch).

    Attributes:
        up_bytes, down_bytes: Arrays of a message.
        time: Of the messages.
    """

    up_bytes: int
    down_bytes: int
    time: LinkTime


class Costs:
    """The costs of all possible pieces and links at one batch size.

    Args:
        dataflow: The single net.
        built: Shapes of its blobs in phase TRAIN, at this batch size.
        times: Of its layers.
        carrier: The way between neighbours.
        memory: Adds up blobs and weights, from `built`.
        target: What the upper piece answers, `gradient` or `backprop`.
    """

    def __init__(
        self,
        dataflow: DataflowGraph,
        built: Built,
        times: LayerTimes,
        carrier: Carrier,
        memory: Memory,
        target: str = "gradient",
    ) -> None:
        self.dataflow, self.times, self.carrier = dataflow, times, carrier
        self._is_compared = target != "backprop"
        self._built, self._memory = built, memory
        self._training = dataflow.used["TRAIN"]
        self._update_s = times.update / max(1, memory.parameters(self._training))
        self._pieces: dict[tuple[Optional[Cut], Optional[Cut]], PieceCost] = {}
        self._links: dict[Cut, LinkCost] = {}

    @property
    def single(self) -> PieceCost:
        """The single net."""
        return self.piece(None, None)

    def piece(self, below: Optional[Cut], above: Optional[Cut]) -> PieceCost:
        """The piece between two cuts; None is the net's end on that side."""
        key = (below, above)
        if key not in self._pieces:
            self._pieces[key] = self._piece(below, above)
        return self._pieces[key]

    def link(self, cut: Cut) -> LinkCost:
        """The link at a cut."""
        if cut not in self._links:
            up = self._bytes([*cut.flow.blobs, *cut.flow.labels])
            answered = [pair.version for pair in cut.flow.compared]
            down = self._bytes(answered if self._is_compared else cut.flow.blobs)
            time = LinkTime(self.carrier.message(up), self.carrier.message(down))
            self._links[cut] = LinkCost(up, down, time)
        return self._links[cut]

    def _piece(self, below: Optional[Cut], above: Optional[Cut]) -> PieceCost:
        own = self._layers(below, above)
        copied = self._only_training(above.partition.dual) if above else []
        layers = [*own, *copied]
        target, received, answered = 0, 0, 0
        if above:
            target = self.link(above).down_bytes
        if below:
            received, answered = self.link(below).up_bytes, self.link(below).down_bytes
        touches = _LOSS_PASSES * target + answered if self._is_compared else 0
        run = layers if self._is_compared else own
        parameters = self._memory.parameters(layers)
        return PieceCost(
            parameters,
            _sum(own, self.times.forward),
            _sum(copied, self.times.forward) if self._is_compared else 0.0,
            self._backward_s(below, run) + self.times.touch_per_byte * touches,
            parameters * self._update_s,
            self._memory.fixed_bytes(layers) + target + answered,
            # A message is in memory beside the blobs that it fills (Memory.of).
            self._memory.batch_bytes(layers) + 2 * (target + received),
        )

    def _layers(self, below: Optional[Cut], above: Optional[Cut]) -> list[int]:
        """A piece's layers in training, without the copy of those that the next one begins with."""
        found = set(self._training)
        if below:
            found &= {*below.partition.dual, *below.partition.upper}
        if above:
            found &= set(above.partition.lower)
        return sorted(found)

    def _only_training(self, numbers: Iterable[int]) -> list[int]:
        return [number for number in numbers if number in self._training]

    def _backward_s(self, below: Optional[Cut], layers: Sequence[int]) -> float:
        """Backward time of a piece: less than in the single net where its input needs no gradient.

        Layers with weights spend half on the gradient of their weights and half on that of their
        bottoms, which is left out where no upstream layer of the piece learns (net.cpp,
        bottom_need_backward). With `backprop` the input's gradient is needed, and all of the time.
        """
        if below is None or below.flow.needs_force or not self._is_compared:
            return _sum(layers, self.times.backward)
        total, learnt = 0.0, set()
        for number in layers:
            seconds = self.times.backward.get(number, 0.0)
            passes = any(version in learnt for version in self.dataflow.reads[number])
            learns = self._memory.learns(number)
            if passes or learns:
                learnt.update(self.dataflow.makes[number])
                total += seconds if passes else seconds / 2
        return total

    def _bytes(self, versions: Iterable[BlobVersion]) -> int:
        total = 0
        for version in versions:
            size = 4
            for dim in self._built.blobs[version.name]:
                size *= dim
            total += size
        return total


def _sum(layers: Iterable[int], seconds: dict[int, float]) -> float:
    return sum(seconds.get(number, 0.0) for number in layers)
