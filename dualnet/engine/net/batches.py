"""Any number of samples as batches of one size, and back (`python/caffe/pycaffe.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["Arrays", "Rows", "cut"]

Arrays = dict[str, np.ndarray]


def cut(arrays: dict[str, Any], size: int) -> Iterator[Arrays]:
    """Cuts arrays into batches; the last is padded with zeros.

    Args:
        arrays: M samples each, (M, …), by blob name; at least one.
        size: the batch size.

    Yields:
        Arrays (size, …) by blob name, ceil(M / size) times: never for M = 0.
    """
    whole = {name: np.asarray(values) for name, values in arrays.items()}
    total = len(next(iter(whole.values())))
    for first in range(0, total, size):
        batch = {}
        for name, values in whole.items():
            piece = values[first : first + size]
            missing = size - len(piece)
            if missing:
                padding = np.zeros((missing, *piece.shape[1:]), piece.dtype)
                piece = np.concatenate([piece, padding])
            batch[name] = piece
        yield batch


class Rows:
    """Collects the rows of batches, to join them.

    Args:
        names: of the blobs.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def add(self, arrays: Arrays) -> None:
        """Appends copies of one batch's rows, because the next pass overwrites the arrays."""
        for name, values in arrays.items():
            self._rows[name].extend(values.copy())

    def first(self, count: int) -> Arrays:
        """The first `count` rows of each blob as an array: what padding added comes last."""
        return {name: np.asarray(rows[:count]) for name, rows in self._rows.items()}
