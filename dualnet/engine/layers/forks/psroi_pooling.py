"""PSROIPooling: each bin's mean, over channels that belong to the bin (R-FCN)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.forks.regions import (
    Bins,
    Floats,
    check_regions,
    fit,
    half_away,
    read_regions,
)
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["PSROIPooling"]

#: The smallest extent of a region, in pixels of the map.
_LEAST = np.float32(0.1)


@register("PSROIPooling")
class PSROIPooling(Layer):
    """Cuts each region into group_size by group_size bins and takes the mean of each.

    Bottoms: features (N, output_dim * group_size^2, H, W) and regions as in ROIPooling. Top: (R,
    output_dim, group_size, group_size); bin (i, j) of output k reads channel (k * group_size + i) *
    group_size + j. Corners are rounded in the image, then scaled, not rounded again. Regions get no
    gradient.
    """

    bottoms = 2
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.psroi_pooling_param
        self._scale = np.float32(param.spatial_scale)
        self._outputs, self._group = param.output_dim, param.group_size
        if not (self._scale > 0 and self._outputs > 0 and self._group > 0):
            raise PrototxtError(
                f"layer '{self.name}': psroi_pooling_param needs spatial_scale, output_dim and "
                f"group_size above 0, they are {param.spatial_scale:g}, {self._outputs} and "
                f"{self._group}"
            )
        self._images: list[int] = []

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Regions get no gradient."""
        return bottom_index != 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        check_regions(self, bottom[0], bottom[1])
        needed = self._outputs * self._group**2
        if bottom[0].dims[1] != needed:
            raise ShapeError(
                f"layer '{self.name}' (PSROIPooling): bottom 0 of shape {bottom[0].dims} has "
                f"{bottom[0].dims[1]} channels, output_dim {self._outputs} and group_size "
                f"{self._group} need {needed}"
            )
        top[0].reshape(bottom[1].dims[0], self._outputs, self._group, self._group)

    def _bins(self, low: Floats, high: Floats, size: int) -> Bins:
        first = half_away(low) * self._scale
        last = (half_away(high) + np.float32(1)) * self._scale
        step = (np.maximum(last - first, _LEAST) / np.float32(self._group))[:, None]
        number = np.arange(self._group + 1, dtype=np.float32)
        first = first[:, None]
        none = np.zeros((len(low), 1), np.int64)
        return fit(number[:-1] * step + first, number[1:] * step + first, none, size)

    def _windows(self) -> Iterator[tuple[int, int, int, int, slice, slice]]:
        """(region, image, i, j, rows, columns) of each bin that is not empty."""
        for r, image in enumerate(self._images):
            for i, (top, bottom) in enumerate(self._rows.of(r)):
                for j, (left, right) in enumerate(self._columns.of(r)):
                    if top < bottom and left < right:
                        yield r, image, i, j, slice(top, bottom), slice(left, right)

    def _by_bin(self, dims: Sequence[int]) -> tuple[int, ...]:
        return (dims[0], self._outputs, self._group, self._group, *dims[2:])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the means; an empty bin is 0."""
        images, corners = read_regions(self, bottom[0], bottom[1])
        self._images = images.tolist()
        dims = bottom[0].dims
        self._rows = self._bins(corners[:, 1], corners[:, 3], dims[2])
        self._columns = self._bins(corners[:, 0], corners[:, 2], dims[3])
        x = bottom[0].data_tensor.reshape(self._by_bin(dims))
        result = torch.zeros(top[0].dims, device=x.device)
        for r, image, i, j, rows, columns in self._windows():
            result[r, :, i, j] = x[image, :, i, j, rows, columns].mean(dim=(1, 2))
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Spreads each gradient over its bin."""
        if propagate_down[1]:
            bottom[1].clear_diff()
        if not propagate_down[0]:
            return
        gradient = top[0].diff_tensor
        result = torch.zeros(self._by_bin(bottom[0].dims), device=gradient.device)
        for r, image, i, j, rows, columns in self._windows():
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            share = gradient[r, :, i, j, None, None] / area
            result[image, :, i, j, rows, columns] += share
        bottom[0].set_diff(result.view(bottom[0].dims))
