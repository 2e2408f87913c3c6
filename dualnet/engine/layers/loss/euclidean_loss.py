"""EuclideanLoss (Caffe `L/euclidean_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.registry import register

__all__ = ["EuclideanLoss"]


@register("EuclideanLoss")
class EuclideanLoss(LossLayer):
    """sum((a - b)^2) / (2 N), N the first dimension; both bottoms get gradients."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._difference: Tensor | None = None

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Unlike other losses, this one has no labels."""
        return True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that both bottoms have the same number of values a sample."""
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            raise ShapeError(
                f"layer '{self.name}': inputs must have the same dimension, they have shapes "
                f"{bottom[0].dims} and {bottom[1].dims}"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the loss and keeps the difference."""
        a, b = bottom[0].data_tensor, bottom[1].data_tensor
        difference = a - b.reshape(a.shape)
        self._difference = difference
        square = difference.square().sum()
        self.set_loss(top, square.div_(2.0 * bottom[0].dims[0]))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes the difference times weight / N, with opposite signs."""
        if self._difference is None:
            return
        scale = top[0].diff_tensor.reshape(()) / bottom[0].dims[0]
        for blob, wanted, sign in zip(bottom, propagate_down, (1.0, -1.0)):
            if wanted:
                gradient = self._difference * (scale * sign)
                blob.set_diff(gradient.reshape(blob.dims))
