"""MemoryData: batches from arrays that the caller owns (Caffe `L/memory_data_layer.cpp`)."""

from __future__ import annotations

import numpy as np
import torch

from dualnet.engine.errors import InputArrayError, PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["MemoryData"]


@register("MemoryData")
class MemoryData(Layer):
    """Tops: data (N, C, H, W) and labels, (N,) at first and (N, 1, 1, 1) from the first pass on.

    Each pass serves the next batch of the registered arrays and wraps around at their end.
    """

    bottoms = 0
    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.memory_data_param
        sizes = (param.batch_size, param.channels, param.height, param.width)
        self._batch: tuple[int, ...] = sizes
        if 0 in self._batch:
            raise PrototxtError(
                f"layer '{self.name}': batch_size, channels, height and width must be specified "
                f"and positive in memory_data_param, they are {self._batch}"
            )
        self._arrays: tuple[torch.Tensor, torch.Tensor] | None = None
        self._position = 0
        top[0].reshape(*self._batch)
        top[1].reshape(self._batch[0])

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Registers the arrays to serve; they are neither copied nor checked again.

        Args:
            data: (M, C, H, W) float32, C-contiguous, M a multiple of the batch size.
            labels: (M, 1, 1, 1) float32, C-contiguous.

        Raises:
            InputArrayError: the arrays do not suit the layer.
        """
        self._check("data", data, self._batch[1:])
        self._check("labels", labels, (1, 1, 1))
        if len(data) != len(labels):
            raise InputArrayError(
                f"data and labels must have the same first dimension, they have {len(data)} and "
                f"{len(labels)}"
            )
        if len(data) % self._batch[0] or not len(data):
            raise InputArrayError(
                "first dimensions of input arrays must be a multiple of batch size: "
                f"{len(data)} is no multiple of {self._batch[0]}"
            )
        self._arrays = torch.from_numpy(data), torch.from_numpy(labels)
        self._position = 0

    def _check(self, what: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
        problem = ""
        if array.ndim != 4:
            problem = f"must be 4-d, its shape is {array.shape}"
        elif array.dtype != np.float32:
            problem = f"must be float32, it is {array.dtype}"
        elif array.shape[1:] != expected:
            problem = (
                f"has wrong number of channels, height or width: {array.shape[1:]}, the layer has "
                f"{expected}"
            )
        elif not array.flags.c_contiguous:
            problem = "must be C contiguous; pass numpy.ascontiguousarray of it"
        elif not array.flags.writeable:
            problem = "must be writeable, because the blob shares its memory; pass a copy"
        if problem:
            raise InputArrayError(f"layer '{self.name}': {what} array {problem}")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to adapt: the shape is fixed."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Serves the next batch, sharing memory with the arrays."""
        if self._arrays is None:
            raise InputArrayError(
                f"layer '{self.name}': MemoryData needs to be initialized by calling "
                "net.set_input_arrays before the first forward pass"
            )
        size = self._batch[0]
        rows = slice(self._position, self._position + size)
        data, labels = self._arrays
        top[0].reshape(*self._batch)
        top[1].reshape(size, 1, 1, 1)  # as in Caffe, other than setup's (size,)
        top[0].alias_data(data[rows])
        top[1].alias_data(labels[rows])
        self._position = (self._position + size) % len(data)

    def backward(self, top: Blobs, propagate_down: object, bottom: Blobs) -> None:
        """A data layer has no bottoms."""
