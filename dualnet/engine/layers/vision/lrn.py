"""Local response normalisation (Caffe `L/lrn_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.layers.vision.pooling_geometry import PoolingGeometry, average, average_backward
from dualnet.engine.proto import caffe_pb2

__all__ = ["LRN"]


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
        # Within a channel, `average` divides by the window's area already.
        self._alpha = param.alpha / n if self._across else param.alpha
        margin = (n - 1) // 2
        self._geometry = PoolingGeometry((n, n), (1, 1), (margin, margin))
        self._scale: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        if len(bottom[0].dims) != 4:
            raise ShapeError(
                f"layer '{self.name}': LRN needs a bottom of 4 axes (N, C, H, W), this one has "
                f"shape {bottom[0].dims}"
            )
        top[0].reshape_like(bottom[0])

    def _channel_sums(self, x: Tensor) -> Tensor:
        """Sums over n channels around each one, zeros beyond the edges."""
        # Adding whole slices is many times faster than a pooling over channels (norm1 of CaffeNet:
        # 4 instead of 30 ms), in either memory order.
        sums = x.clone()
        # The window is clamped to the channels that exist.
        reach = min((self._n - 1) // 2, x.shape[1] - 1)
        for distance in range(1, reach + 1):
            sums[:, distance:] += x[:, :-distance]
            sums[:, :-distance] += x[:, distance:]
        return sums

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data_tensor
        self._scale = None  # frees it and the top, so that the new values can have their memory
        if top[0] is not bottom[0]:
            top[0].drop_data()
        square = x * x
        sums = self._channel_sums(square) if self._across else average(square, self._geometry)
        self._scale = sums.mul_(self._alpha).add_(self._k)
        top[0].set_data(self._scale.pow(-self._beta).mul_(x))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """dx = g s^-beta - 2 alpha beta x * window_sum(g y / s)."""
        if not propagate_down[0] or self._scale is None:
            return
        x, gradient = bottom[0].data_tensor, top[0].diff_tensor
        if top[0] is not bottom[0]:
            bottom[0].drop_diff()
        # g s^-beta first: times x / s it is g y / s, since y = x s^-beta.
        direct = self._scale.pow(-self._beta).mul_(gradient)
        ratio = (direct * x).div_(self._scale)
        if self._across:
            sums = self._channel_sums(ratio)
        else:
            sums = average_backward(ratio, x, self._geometry)
        factor = -2.0 * self._alpha * self._beta
        bottom[0].set_diff(direct.addcmul_(x, sums, value=factor))
