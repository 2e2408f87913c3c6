"""Base of the data layers whose batches a thread prepares ahead (Caffe `L/base_data_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.records.prefetch import Prefetcher

__all__ = ["BatchSource", "PrefetchedLayer"]


class BatchSource(Protocol):
    """Makes batches, in the prefetch thread."""

    def batches(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields for each batch one array a top, float32, without end."""


class PrefetchedLayer(Layer):
    """Serves what `_source`, which `setup` makes, yields.

    The source must not refer to the layer: the thread holds the source, and would keep the layer,
    and thereby itself, alive for ever.
    """

    bottoms = 0

    _source: BatchSource
    _prefetcher: Prefetcher | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Forward sets the shape of each batch."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Publishes the next batch; the last arrays are those of tops that the net does not have.

        The first call starts the thread, so that nets that are only inspected read nothing.
        """
        if self._prefetcher is None:
            depth = self.layer_param.data_param.prefetch
            self._prefetcher = Prefetcher(self._source.batches, depth)
        for blob, values in zip(top, self._prefetcher.take()):
            blob.reshape(*values.shape)
            blob.set_data(torch.from_numpy(values))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """A data layer has no bottoms."""
