"""MVN: mean-variance normalisation of each sample (Caffe `L/mvn_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["MVN"]


@register("MVN")
class MVN(Layer):
    """(x - mean) / (deviation + eps), over each channel's plane or, `across_channels`, each sample.

    Bottom: up to four axes. Top: always four, (N, C, H, W), with 1 for those that are missing. May
    run in place (in BVLC Caffe the gradient would then be wrong). The gradient leaves eps out of
    the derivative, as Caffe's does.
    """

    bottoms = 1
    tops = 1

    _divisor: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.mvn_param
        self._eps: float = param.eps
        self._scales: bool = param.normalize_variance
        self._axes = (1, 2, 3) if param.across_channels else (2, 3)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """The top takes the bottom's shape, with four axes."""
        dims = bottom[0].dims
        if len(dims) > 4:
            raise ShapeError(
                f"layer '{self.name}': MVN takes at most 4 axes (N, C, H, W), bottom 0 has "
                f"{len(dims)}: {dims}; reshape it"
            )
        top[0].reshape(*dims, *(1,) * (4 - len(dims)))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Normalises, by the population standard deviation (it divides by n, not n - 1)."""
        x = bottom[0].data_tensor.reshape(top[0].dims)
        y = x - x.mean(dim=self._axes, keepdim=True)
        if self._scales:
            variance = y.square().mean(dim=self._axes, keepdim=True)
            self._divisor = variance.sqrt_().add_(self._eps)
            y /= self._divisor
        top[0].set_data(y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """(g - mean(g) - y mean(g y)) / divisor, or g - mean(g)."""
        if not propagate_down[0]:
            return
        gradient, y = top[0].diff_tensor, top[0].data_tensor
        result = gradient - gradient.mean(dim=self._axes, keepdim=True)
        if self._scales and self._divisor is not None:
            result -= y * (gradient * y).mean(dim=self._axes, keepdim=True)
            result /= self._divisor
        bottom[0].set_diff(result)
