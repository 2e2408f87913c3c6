"""The memory that some layers of a net need in training: blobs, weights, solver history.

Counted as Caffe allocates: float32 values of each blob once, also where layers work in place; its
gradient where there is one; values, gradient and history of each weight. What a provider needs
beyond that to compute (columns of a convolution, caches of an allocator) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.shapes import Built

__all__ = ["Memory"]

#: Blobs of history for each weight (src/caffe/solvers).
_SLOTS = {"AdaDelta": 2, "Adam": 2}


class Memory:
    """Adds up the memory of layers.

    Args:
        dataflow: The net.
        built: Its shapes in phase TRAIN.
        solver_type: As `SGD`.
    """

    def __init__(self, dataflow: DataflowGraph, built: Built, solver_type: str) -> None:
        self._wiring, self._built = dataflow, built
        self._per_weight = 2 + _SLOTS.get(solver_type, 1)

    def learns(self, number: int) -> bool:
        """Whether training changes a layer's weights."""
        return self._built.learns(self._wiring, number)

    def parameters(self, layers: Iterable[int]) -> int:
        """How many numbers training changes in these layers."""
        return sum(self._weights(number) for number in layers if self.learns(number))

    def of(self, layers: Iterable[int], fed: int = 0, buffers: int = 0) -> int:
        """Bytes for training these layers alone.

        Args:
            layers: Numbers of the layers.
            fed: Bytes of the blobs that come from elsewhere; they have no gradient, and the
                message that brings them is in memory beside them.
            buffers: Bytes of further arrays, of the target and of the loss on it.
        """
        layers = list(layers)
        blobs: dict[str, bool] = {}
        learnt = set()
        for number in layers:
            reads, makes = self._wiring.reads[number], self._wiring.makes[number]
            has_gradient = self.learns(number) or any(version in learnt for version in reads)
            if has_gradient:
                learnt.update(makes)
            for version in makes:
                blobs[version.name] = blobs.get(version.name, False) or has_gradient
        values = sum(
            _size(self._built.blobs[name]) * (2 if has_gradient else 1)
            for name, has_gradient in blobs.items()
        )
        weights = sum(self._weights(number) for number in layers) * self._per_weight
        return 4 * (values + weights) + 2 * fed + buffers

    def _weights(self, number: int) -> int:
        return sum(_size(shape) for shape in self._built.parameters.get(number, []))


def _size(shape: Iterable[int]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size
