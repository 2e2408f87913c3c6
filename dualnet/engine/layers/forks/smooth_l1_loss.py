"""SmoothL1Loss: quadratic near zero, linear beyond (Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.registry import register

__all__ = ["SmoothL1Loss"]


@register("SmoothL1Loss")
class SmoothL1Loss(LossLayer):
    """sum(outside * f(inside * (a - b))) / N, N the first dimension.

    f(x) = (sigma x)^2 / 2 where |x| < 1 / sigma^2, else |x| - 1 / (2 sigma^2). Bottoms: a and b,
    and perhaps the inside weights (Fast R-CNN's has no others) and the outside weights, all of one
    shape. a and b both get a gradient, weights none. (The first Fast R-CNN leaves the inside weight
    out of the gradient, which is the same for weights of 0 and 1.) The fork
    has this layer on the GPU only; here it runs on both.
    """

    bottoms = (2, 4)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        sigma = self.layer_param.smooth_l1_loss_param.sigma
        if not sigma > 0:
            raise PrototxtError(
                f"layer '{self.name}': smooth_l1_loss_param has sigma {sigma:g}; it must be above 0"
            )
        self._square = sigma * sigma
        self._difference: Tensor | None = None

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Both terms of the difference get gradients, the weights none."""
        return bottom_index < 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that all bottoms have as many values a sample."""
        super().reshape(bottom, top)
        for index, blob in enumerate(bottom[1:], 1):
            if blob.count != bottom[0].count or blob.dims[:1] != bottom[0].dims[:1]:
                raise ShapeError(
                    f"layer '{self.name}' (SmoothL1Loss): bottom {index} has shape {blob.dims}, "
                    f"bottom 0 {bottom[0].dims}; all must have the same shape"
                )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the loss and keeps the weighted difference."""
        a = bottom[0].data_tensor
        x = a - bottom[1].data_tensor.reshape(a.shape)
        if len(bottom) > 2:
            x *= bottom[2].data_tensor.reshape(a.shape)
        self._difference = x
        size = x.abs()
        inner = size < 1.0 / self._square
        loss = torch.where(inner, x.square() * (0.5 * self._square), size - 0.5 / self._square)
        if len(bottom) > 3:
            loss *= bottom[3].data_tensor.reshape(a.shape)
        self.set_loss(top, loss.sum().div_(max(bottom[0].dims[0], 1)))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes the slope of f times the weights, with opposite signs."""
        for blob, wanted in zip(bottom[2:], propagate_down[2:]):
            if wanted:
                blob.clear_diff()
        x = self._difference
        if x is None or not any(propagate_down[:2]):
            return
        gradient = torch.where(x.abs() < 1.0 / self._square, x * self._square, x.sign())
        for weights in bottom[2:]:
            gradient *= weights.data_tensor.reshape(x.shape)
        gradient *= top[0].diff_tensor.reshape(()) / max(bottom[0].dims[0], 1)
        for blob, wanted, sign in zip(bottom, propagate_down, (1.0, -1.0)):
            if wanted:
                blob.set_diff((gradient * sign).reshape(blob.dims))
