"""HingeLoss: one against all (Caffe `L/hinge_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.loss.labels import class_labels
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["HingeLoss"]


@register("HingeLoss")
class HingeLoss(LossLayer):
    """(1 / N) sum of max(0, 1 - s x)^p with s = 1 for the label's score and -1 for the others.

    Bottoms: scores (N, …), all that a sample has being classes, and N labels. p is 1 or 2 for
    `norm` L1 or L2.
    """

    _margins: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        norm = self.layer_param.hinge_loss_param.norm
        self._squared = norm == caffe_pb2.HingeLossParameter.L2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that each sample has one label."""
        super().reshape(bottom, top)
        if bottom[1].count != bottom[0].dims[0]:
            raise ShapeError(
                f"layer '{self.name}': HingeLoss takes one label a sample: bottom 0 of shape "
                f"{bottom[0].dims} needs {bottom[0].dims[0]} labels, bottom 1 has shape "
                f"{bottom[1].dims}"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the loss and keeps the margins that are violated."""
        n = bottom[0].dims[0]
        x = bottom[0].data_tensor.reshape(n, -1)
        labels = class_labels(self.name, bottom[1].data_tensor, x.shape[1], None).reshape(n, 1)
        sign = torch.ones_like(x).scatter_(1, labels, -1.0)
        margins = (x * sign).add_(1).clamp_min_(0)
        self._margins, self._sign = margins, sign
        loss = margins.square().sum() if self._squared else margins.sum()
        self.set_loss(top, loss.div_(n))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """The sign of each violated margin, times twice the margin for L2."""
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0] or self._margins is None:
            return
        slope = self._margins * 2 if self._squared else self._margins.sign()
        scale = top[0].diff_tensor.reshape(()) / bottom[0].dims[0]
        bottom[0].set_diff((slope * self._sign * scale).reshape(bottom[0].dims))
