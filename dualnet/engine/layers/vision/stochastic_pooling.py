"""Stochastic pooling (Zeiler and Fergus 2013; Caffe `L/pooling_layer.cu`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.core import random
from dualnet.engine.layers.vision.pooling_geometry import (
    PoolingGeometry,
    crop,
    window_sums,
    window_sums_backward,
)

__all__ = ["StochasticPooling"]


class StochasticPooling:
    """One pixel a window, drawn with a probability in proportion to its value.

    Meant for values of 0 and above, such as after ReLU. Where a window sums to 0, training takes
    its first pixel and testing gives 0.

    Args:
        draws: whether to draw (TRAIN), or to give the expectation: the average of the values,
            weighted by themselves (TEST).
    """

    def __init__(self, draws: bool) -> None:
        self._draws = draws
        self._chosen: Tensor | None = None  # (N, C, H', W') positions in the padded planes

    def forward(self, x: Tensor, geometry: PoolingGeometry) -> Tensor:
        """Pools.

        Args:
            x: (N, C, H, W).
            geometry: that of the windows, without padding.

        Returns:
            (N, C, H', W').
        """
        if not self._draws:
            return _expectation(x, window_sums(x, geometry), geometry)
        margins = geometry.margins((x.shape[2], x.shape[3]))
        padded = torch.ops.aten.constant_pad_nd(x, margins, 0.0)
        (kernel_h, kernel_w), (stride_h, stride_w) = geometry.kernel, geometry.stride
        values = padded.unfold(2, kernel_h, stride_h).unfold(3, kernel_w, stride_w).flatten(4)
        rising = values.cumsum(4)
        # Drawn in C order whatever the order of x, so that a seed means the same. 1 - draw lies in
        # (0, 1]: a threshold of 0 would select a leading pixel of value 0.
        draw = torch.rand(rising.shape[:4], device=x.device, generator=random.generator(x.device))
        reached = rising >= (1 - draw).mul_(rising[..., -1]).unsqueeze(4)
        chosen = reached.to(torch.uint8).argmax(4)  # the first of several
        rows = torch.arange(chosen.shape[2], device=x.device)[:, None] * stride_h
        columns = torch.arange(chosen.shape[3], device=x.device) * stride_w
        rows, columns = rows + chosen // kernel_w, columns + chosen % kernel_w
        self._chosen = rows * padded.shape[3] + columns
        return values.gather(4, chosen.unsqueeze(4)).squeeze(4)

    def backward(self, gradient: Tensor, x: Tensor, geometry: PoolingGeometry) -> Tensor:
        """The gradient: to the drawn pixels in TRAIN, that of the expectation in TEST.

        In TEST, BVLC Caffe sends it to the pixels of an earlier pass, if there was any.

        Args:
            gradient: (N, C, H', W').
            x: (N, C, H, W), the input of the last forward pass.
            geometry: that of the windows.

        Returns:
            (N, C, H, W).
        """
        if not self._draws:
            sums = window_sums(x, geometry)
            value = _expectation(x, sums, geometry)
            share = torch.where(sums > 0, gradient / sums, 0.0)  # d(q / s) = (2x - q / s) dx / s
            down = window_sums_backward(share, x, geometry).mul_(x).mul_(2)
            return down.sub_(window_sums_backward(share * value, x, geometry))
        if self._chosen is None or self._chosen.shape != gradient.shape:
            self.forward(x, geometry)  # the shapes changed since
        height, width = x.shape[2], x.shape[3]
        left, right, top, bottom = margins = geometry.margins((height, width))
        padded = x.new_zeros(*x.shape[:2], (height + top + bottom) * (width + left + right))
        if self._chosen is not None:
            padded.scatter_add_(2, self._chosen.flatten(2), gradient.flatten(2))
        planes = padded.view(*x.shape[:2], height + top + bottom, width + left + right)
        return crop(planes, margins, (height, width))


def _expectation(x: Tensor, sums: Tensor, geometry: PoolingGeometry) -> Tensor:
    """The average of each window's values, weighted by themselves; 0 for a window of zeros."""
    return torch.where(sums > 0, window_sums(x * x, geometry) / sums, 0.0)
