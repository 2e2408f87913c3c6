"""The memory that some layers of a net need in training: blobs, weights, solver history.

Counted as Caffe allocates: float32 values of each blob once, also where layers work in place; its
gradient where there is one; values, gradient and history of each weight. What a provider needs
beyond that to compute (columns of a convolution, caches of an allocator) is not counted.
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
        self._dataflow, self._built = dataflow, built
        self._per_weight = 2 + _SLOTS.get(solver_type, 1)

    def learns(self, number: int) -> bool:
        """Whether training changes a layer's weights."""
        return self._built.learns(self._dataflow, number)

    def parameters(self, layers: Iterable[int]) -> int:
        """How many numbers training changes in these layers."""
        return sum(self._weights(number) for number in layers if self.learns(number))

    def of(self, layers: Iterable[int], fed: int = 0, buffers: int = 0) -> int:
        """Bytes for training these layers alone on one batch.

        Args:
            layers: Numbers of the layers.
            fed: Bytes of the blobs that come from elsewhere; they have no gradient, and the
                message that brings them is in memory beside them.
            buffers: Bytes of further arrays, of the target and of the loss on it.
        """
        layers = list(layers)
        return self.fixed_bytes(layers) + self.batch_bytes(layers) + 2 * fed + buffers

    def fixed_bytes(self, layers: Iterable[int]) -> int:
        """Of these layers' weights, their gradients and the solver's history."""
        return 4 * self._per_weight * sum(self._weights(number) for number in layers)

    def batch_bytes(self, layers: Iterable[int]) -> int:
        """Of the blobs that these layers make of one batch, in a net of these layers alone."""
        blobs: dict[str, bool] = {}
        learnt = set()
        for number in layers:
            reads, makes = self._dataflow.reads[number], self._dataflow.makes[number]
            has_gradient = self.learns(number) or any(version in learnt for version in reads)
            if has_gradient:
                learnt.update(makes)
            for version in makes:
                blobs[version.name] = blobs.get(version.name, False) or has_gradient
        return 4 * sum(
            _size(self._built.blobs[name]) * (2 if has_gradient else 1)
            for name, has_gradient in blobs.items()
        )

    def _weights(self, number: int) -> int:
        return sum(_size(shape) for shape in self._built.parameters.get(number, []))


def _size(shape: Iterable[int]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size
