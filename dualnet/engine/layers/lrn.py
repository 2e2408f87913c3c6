"""Local response normalisation (Caffe `L/lrn_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.pooling import Window, average, average_backward
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["LRN"]

_aten = torch.ops.aten


@register("LRN")
class LRN(Layer):
    """x * (k + alpha / n * sum of x^2 over a window) ^ -beta.

    ACROSS_CHANNELS: the window covers n channels around each one. WITHIN_CHANNEL: it covers n x n
    positions, the sum is divided by the window's area inside image and padding, and k is 1.
    Bottom and top: (N, C, H, W).
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the settings."""
        param = self.layer_param.lrn_param
        n = param.local_size
        if n % 2 == 0:
            raise PrototxtError(
                f"layer '{self.name}': LRN only supports odd values for local_size, it is {n}"
            )
        self._n = n
        self._beta = param.beta
        self._across = param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS
        self._k = param.k if self._across else 1.0
        self._alpha = param.alpha / n if self._across else param.alpha
        margin = (n - 1) // 2
        self._window = Window((n, n), (1, 1), (margin, margin))
        self._scale: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """The top takes the bottom's shape."""
        if len(bottom[0].dims) != 4:
            raise ShapeError(
                f"layer '{self.name}': LRN needs a bottom of 4 axes (N, C, H, W), this one has "
                f"shape {bottom[0].dims}"
            )
        top[0].reshape_like(bottom[0])

    def _channel_sums(self, x: Tensor) -> Tensor:
        """Sums over n channels around each one, zeros beyond the edges."""
        n, c, h, w = x.shape
        flat = x.contiguous().view(n, 1, c, h * w)
        margin = (self._n - 1) // 2
        sums = _aten.avg_pool2d(flat, [self._n, 1], [1, 1], [margin, 0], False, True, 1)
        return sums.view(n, c, h, w)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Normalises and keeps the scale."""
        x = bottom[0].data_tensor
        square = x * x
        sums = self._channel_sums(square) if self._across else average(square, self._window)
        self._scale = sums.mul_(self._alpha).add_(self._k)
        top[0].set_data(x * self._scale.pow(-self._beta))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """dx = g s^-beta - 2 alpha beta x * window_sum(g y / s)."""
        if not propagate_down[0] or self._scale is None:
            return
        x, gradient = bottom[0].data_tensor, top[0].diff_tensor
        power = self._scale.pow(-self._beta)
        ratio = gradient * x * power / self._scale
        if self._across:
            sums = self._channel_sums(ratio)
        else:
            sums = average_backward(ratio, x, self._window)
        bottom[0].set_diff(gradient * power - (2.0 * self._alpha * self._beta) * x * sums)
