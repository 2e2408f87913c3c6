"""What a solver shows of its nets: the average loss, and a line for each value of each output.

The wording is Caffe's (`src/caffe/solver.cpp`, Step, TestAll), because tools parse it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch

from dualnet.engine.net.structure import NetStructure

__all__ = ["LossAverage", "output_lines", "output_values"]


class LossAverage:
    """The mean loss of the last few iterations (`average_loss`)."""

    def __init__(self) -> None:
        # Device tensors, converted to float only for display: reading one waits for the GPU.
        self._losses: deque[float | torch.Tensor] = deque()

    def clear(self) -> None:
        """Forgets all losses."""
        self._losses.clear()

    def add(self, loss: float | torch.Tensor, size: int) -> None:
        """Appends a loss and forgets all but the last `size`."""
        self._losses.append(loss)
        while len(self._losses) > size:
            self._losses.popleft()

    def value(self) -> float:
        """The mean of what is left."""
        return float(sum(self._losses)) / len(self._losses)


def output_values(structure: NetStructure) -> list[list[float]]:
    """The present values of each of a net's outputs, flat."""
    return [
        structure.blobs[number].data_tensor.reshape(-1).tolist() for number in structure.outputs
    ]


def output_lines(
    kind: str, structure: NetStructure, values: Sequence[Sequence[float]]
) -> Iterator[str]:
    """One line a value, numbered through all outputs.

    Args:
        kind: `Train` or `Test`.
        structure: the net's.
        values: as of `output_values`.
    """
    index = 0
    for number, column in zip(structure.outputs, values):
        name, weight = structure.blob_names[number], structure.blob_loss_weights[number]
        for value in column:
            weighted = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
            yield f"    {kind} net output #{index}: {name} = {value:g}{weighted}"
            index += 1
