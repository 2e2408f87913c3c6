"""The mean of a net's outputs over the batches of a test."""

from __future__ import annotations

import numpy as np

from dualnet.training.net.driver import Output

__all__ = ["OutputMeans"]


class OutputMeans:
    """Adds up outputs batch by batch.

    Of an output that changes its size from batch to batch, as a map of scores does with the images,
    the mean over its values is added up.
    """

    def __init__(self) -> None:
        self._sums: list[Output] = []
        self._batches = 0

    def add(self, outputs: list[Output]) -> None:
        """Add one batch's outputs, which are the same ones each time."""
        if not self._sums:
            self._sums = outputs
        else:
            self._sums = [
                (name, _added(total, values), weight)
                for (name, total, weight), (_, values, _) in zip(self._sums, outputs)
            ]
        self._batches += 1

    def take(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """The means by output, (K,) each, and the loss weights; the next test begins at zero."""
        means = {name: total / self._batches for name, total, _ in self._sums}
        weights = {name: weight for name, _, weight in self._sums}
        self._sums, self._batches = [], 0
        return means, weights


def _added(total: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of an output over some batches and one more, (K,); (1,), of means, if K changes."""
    if total.shape == values.shape:
        return np.asarray(total + values)
    return np.asarray([total.mean() + values.mean()]) if values.size else total
