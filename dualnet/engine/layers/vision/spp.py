"""SPP: spatial pyramid pooling (Caffe `L/spp_layer.cpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register
from dualnet.engine.layers.vision.pooling import Pooling
from dualnet.engine.proto import caffe_pb2

__all__ = ["SPP"]


@register("SPP")
class SPP(Layer):
    """Pools an image of any size to grids of 1, 2 x 2, 4 x 4, … cells, joined as one vector.

    Bottom: (N, C, H, W). Top: (N, C (1 + 4 + 16 + …)) for `pyramid_height` grids, one after the
    other, each in the order channel, row, column. Every grid is a Pooling layer.
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        self._height: int = self.layer_param.spp_param.pyramid_height
        if not self._height:
            raise PrototxtError(
                f"layer '{self.name}' (SPP): spp_param needs pyramid_height above 0"
            )
        self._size: tuple[int, ...] = ()
        # One level a grid: a Pooling layer of its own, the blob that it reads (which shares the
        # bottom's values) and the blob that it writes.
        self._levels: list[tuple[Pooling, Blob, Blob]] = []

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Sets the grids up again when the image's size changes."""
        dims = bottom[0].dims
        if len(dims) != 4 or 0 in dims:
            raise ShapeError(
                f"layer '{self.name}' (SPP): the bottom must have 4 axes (N, C, H, W) and no "
                f"dimension 0, it has shape {dims}"
            )
        new_size = dims[2:] != self._size
        if new_size:
            self._levels = [
                (self._pooling(level, (dims[2], dims[3])), Blob(), Blob())
                for level in range(self._height)
            ]
            self._size = dims[2:]
        total = 0
        for pooling, source, target in self._levels:
            source.reshape(*dims)
            if new_size:
                pooling.setup([source], [target])
            pooling.reshape([source], [target])
            total += math.prod(target.dims[1:])
        if self._height == 1:
            top[0].reshape_like(self._levels[0][2])
        else:
            top[0].reshape(dims[0], total)

    @property
    def grids(self) -> list[tuple[Pooling, Blob]]:
        """A layer for each grid and its top, for images of the size that `reshape` last saw."""
        return [(pooling, target) for pooling, _, target in self._levels]

    def _pooling(self, level: int, size: tuple[int, int]) -> Pooling:
        """The layer that pools an image of (height, width) `size` to 2^level cells a side."""
        cells = 2**level
        kernel = [-(-n // cells) for n in size]
        # What the windows exceed the image by is split between both sides, rounded up.
        pad = [(k * cells - n + 1) // 2 for n, k in zip(size, kernel)]
        if any(p >= k for p, k in zip(pad, kernel)):
            raise ShapeError(
                f"layer '{self.name}' (SPP): an image of {size[0]} x {size[1]} is too small for "
                f"the {cells} x {cells} grid of pyramid_height {self._height}: pad {pad} must be "
                f"below kernel {kernel}; reduce pyramid_height"
            )
        param = caffe_pb2.LayerParameter(name=self.name, type="Pooling", phase=self.phase)
        param.pooling_param.pool = self.layer_param.spp_param.pool
        param.pooling_param.kernel_h, param.pooling_param.kernel_w = kernel
        param.pooling_param.stride_h, param.pooling_param.stride_w = kernel
        param.pooling_param.pad_h, param.pooling_param.pad_w = pad
        return Pooling(param)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        parts = []
        for pooling, source, target in self._levels:
            source.share_data(bottom[0])
            pooling.forward([source], [target])
            parts.append(target.data_tensor.flatten(1))
        top[0].set_data(torch.cat(parts, dim=1))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Sends each grid's part back and adds up."""
        if not propagate_down[0]:
            return
        gradient, first = top[0].diff_tensor.flatten(1), 0
        total = torch.zeros_like(bottom[0].data_tensor)
        for pooling, source, target in self._levels:
            size = math.prod(target.dims[1:])
            target.set_diff(gradient.narrow(1, first, size).reshape(target.dims).clone())
            pooling.backward([target], [True], [source])
            total += source.diff_tensor
            first += size
        bottom[0].set_diff(total)
