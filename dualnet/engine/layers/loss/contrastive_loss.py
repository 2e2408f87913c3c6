"""ContrastiveLoss, for siamese nets (Caffe `L/contrastive_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.registry import register

__all__ = ["ContrastiveLoss"]

#: Added to the distance in the gradient's denominator, as in Caffe, against a division by 0.
_DISTANCE_FLOOR = 1e-4


@register("ContrastiveLoss")
class ContrastiveLoss(LossLayer):
    """(1 / 2N) sum over samples of d^2 if similar, else max(margin - d, 0)^2, d = |a - b|.

    Bottoms: a and b, (N, C) or (N, C, 1, 1), and similar, N values of which 0 means no. With
    `legacy_version` a dissimilar pair costs max(margin - d^2, 0).
    """

    bottoms = 3

    _difference: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.contrastive_loss_param
        self._margin: float = param.margin
        self._legacy: bool = param.legacy_version

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Both inputs get gradients, the label none."""
        return bottom_index != 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that there are N vectors, N more of the same length, and N labels."""
        super().reshape(bottom, top)
        shapes = [blob.dims for blob in bottom]
        n, c = (*shapes[0], 1, 1)[:2]
        vectors = all(blob.dims[:2] == shapes[0][:2] for blob in bottom[:2])
        if not vectors or bottom[0].count != n * c or bottom[1].count != n * c:
            raise ShapeError(
                f"layer '{self.name}': inputs must be vectors of one shape, (N, C) or "
                f"(N, C, 1, 1), they have shapes {shapes[0]} and {shapes[1]}; flatten them"
            )
        if bottom[2].count != n or bottom[2].dims[:1] != shapes[0][:1]:
            raise ShapeError(
                f"layer '{self.name}': {n} pairs need {n} labels, bottom 2 has shape {shapes[2]}"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the loss and keeps distances for backward."""
        n = bottom[0].dims[0]
        a, b = (blob.data_tensor.reshape(n, -1) for blob in bottom[:2])
        difference = a - b
        square = difference.square().sum(dim=1)
        # Truncated, as Caffe does: 0.5 is dissimilar.
        similar = bottom[2].data_tensor.reshape(n).trunc() != 0
        if self._legacy:
            missing = self._margin - square
            penalty = missing.clamp_min(0)
        else:
            missing = self._margin - square.sqrt()
            penalty = missing.clamp_min(0).square_()
        self._difference, self._square = difference, square
        self._similar, self._missing = similar, missing
        self.set_loss(top, torch.where(similar, square, penalty).sum().div_(2 * n))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Pulls similar pairs together and pushes dissimilar ones within the margin apart."""
        self.refuse_label_gradient(propagate_down, 2)
        if self._difference is None:
            return
        if self._legacy:
            push = -(self._missing > 0).to(torch.float32)
        else:
            push = -self._missing.clamp_min(0) / (self._square.sqrt() + _DISTANCE_FLOOR)
        factor = torch.where(self._similar, torch.ones_like(push), push)
        factor = factor * (top[0].diff_tensor.reshape(()) / bottom[0].dims[0])
        for index, sign in ((0, 1.0), (1, -1.0)):
            if propagate_down[index]:
                gradient = self._difference * (factor * sign)[:, None]
                bottom[index].set_diff(gradient.reshape(bottom[index].dims))
