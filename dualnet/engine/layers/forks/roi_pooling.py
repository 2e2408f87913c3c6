"""ROIPooling: the maximum over each bin of each region (Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.forks.regions import (
    Bins,
    Floats,
    Spans,
    check_regions,
    fit,
    half_away,
    read_regions,
)
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["ROIPooling"]


@register("ROIPooling")
class ROIPooling(Layer):
    """Cuts each region into pooled_h by pooled_w bins and takes the maximum of each.

    Bottoms: features (N, C, H, W) and regions (R, 5) of image number, x1, y1, x2, y2 in pixels of
    the image, both ends included. Top: (R, C, pooled_h, pooled_w). Corners are scaled and rounded,
    halves away from zero; a region has at least one pixel; an empty bin is 0. Regions get no
    gradient. The fork has the backward pass on the GPU only; here it runs on both.
    """

    bottoms = 2
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.roi_pooling_param
        self._pooled = (param.pooled_h, param.pooled_w)
        self._scale = np.float32(param.spatial_scale)
        if 0 in self._pooled:
            raise PrototxtError(
                f"layer '{self.name}': roi_pooling_param needs pooled_h and pooled_w above 0, they "
                f"are {param.pooled_h} and {param.pooled_w}"
            )
        self._winners: Tensor | None = None

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Regions get no gradient."""
        return bottom_index != 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        check_regions(self, bottom[0], bottom[1])
        top[0].reshape(bottom[1].dims[0], bottom[0].dims[1], *self._pooled)

    def _bins(self, low: Floats, high: Floats, count: int, size: int) -> Bins:
        first, last = half_away(low * self._scale), half_away(high * self._scale)
        extent = np.maximum(last - first + np.float32(1), np.float32(1))
        step = (extent / np.float32(count))[:, None]
        number = np.arange(count + 1, dtype=np.float32)
        offset = first.astype(np.int64)[:, None]
        return fit(number[:-1] * step, number[1:] * step, offset, size)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Finds each bin's maximum, and keeps its position for backward."""
        x = bottom[0].data_tensor
        images, corners = read_regions(self, bottom[0], bottom[1])
        height, width = x.shape[2:]
        rows = self._bins(corners[:, 1], corners[:, 3], self._pooled[0], height)
        columns = self._bins(corners[:, 0], corners[:, 2], self._pooled[1], width)
        result = torch.zeros(top[0].dims, device=x.device)
        winners = torch.full(top[0].dims, -1, dtype=torch.int64, device=x.device)
        for r, image in enumerate(images.tolist()):
            _pool(x[image], rows.of(r), columns.of(r), result[r], winners[r])
            # From positions in a plane to positions in the blob.
            planes = torch.arange(x.shape[1], device=x.device)[:, None, None] + image * x.shape[1]
            winners[r] += (winners[r] >= 0) * planes * (height * width)
        self._winners = winners
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Sends each gradient to its bin's winner."""
        if propagate_down[1]:
            bottom[1].clear_diff()
        if not propagate_down[0] or self._winners is None:
            return
        x = bottom[0].data_tensor
        chosen = self._winners.reshape(-1)
        gradient = top[0].diff_tensor.reshape(-1) * (chosen >= 0)
        result = torch.zeros(x.numel(), device=x.device)
        # Unlike index_add, this adds in a fixed order on GPUs too.
        result.index_put_((chosen.clamp_min(0),), gradient, accumulate=True)
        bottom[0].set_diff(result.view(bottom[0].dims))


def _pool(x: Tensor, rows: Spans, columns: Spans, values: Tensor, places: Tensor) -> None:
    """Pools one region: first along rows, then the rows' maxima along columns.

    Of equal values the first in reading order wins, as in the fork.

    Args:
        x: (C, H, W), the region's image.
        rows: first row and the row after the last, for each row of bins.
        columns: likewise for columns.
        values: (C, pooled_h, pooled_w), written where a bin is not empty.
        places: of the same shape, h * W + w of each winner, written likewise.
    """
    top, bottom = rows[0][0], rows[-1][1]
    filled = [j for j, (left, right) in enumerate(columns) if left < right]
    if top >= bottom or not filled:
        return
    pairs = [x[:, top:bottom, columns[j][0] : columns[j][1]].max(dim=2) for j in filled]
    kept = slice(filled[0], filled[-1] + 1)  # clipping empties bins at the ends alone
    best = torch.stack([pair[0] for pair in pairs], 2)
    where = torch.stack([pair[1] + columns[j][0] for j, pair in zip(filled, pairs)], 2)
    for i, (first, last) in enumerate(rows):
        if first < last:
            found, row = best[:, first - top : last - top].max(dim=1, keepdim=True)
            column = where[:, first - top : last - top].gather(1, row)
            values[:, i, kept] = found[:, 0]
            places[:, i, kept] = ((row + first) * x.shape[2] + column)[:, 0]
