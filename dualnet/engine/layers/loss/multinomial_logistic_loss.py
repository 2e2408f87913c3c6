"""MultinomialLogisticLoss, of probabilities (Caffe `L/multinomial_logistic_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.loss.labels import class_labels
from dualnet.engine.layers.registry import register

__all__ = ["MultinomialLogisticLoss", "PROBABILITY_FLOOR"]

#: Logarithms are taken of at least this (Caffe's kLOG_THRESHOLD).
PROBABILITY_FLOOR = 1e-20


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LossLayer):
    """-(1 / N) sum of log(p[label]).

    Bottoms: probabilities (N, …), all that a sample has being classes, and N labels. Prefer
    SoftmaxWithLoss, which takes scores and is exact for small probabilities.
    """

    _labels: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that each sample has one label."""
        super().reshape(bottom, top)
        if bottom[1].count != bottom[0].dims[0]:
            raise ShapeError(
                f"layer '{self.name}': MultinomialLogisticLoss takes one label a sample: bottom 0 "
                f"of shape {bottom[0].dims} needs {bottom[0].dims[0]} labels, bottom 1 has shape "
                f"{bottom[1].dims}"
            )

    def _picked(self, bottom: Blobs, labels: Tensor) -> Tensor:
        """The labels' probabilities, (N, 1), at least the floor."""
        p = bottom[0].data_tensor.reshape(labels.shape[0], -1)
        return p.gather(1, labels).clamp_min_(PROBABILITY_FLOOR)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        n = bottom[0].dims[0]
        labels = bottom[1].data_tensor.reshape(n, 1)
        labels = class_labels(self.name, labels, bottom[0].count // max(n, 1), None)
        self._labels = labels
        self.set_loss(top, self._picked(bottom, labels).log_().sum().neg_().div_(n))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """-1 / (N p) at the label, 0 elsewhere."""
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0] or self._labels is None:
            return
        n = bottom[0].dims[0]
        scale = top[0].diff_tensor.reshape(()) / n
        slope = -scale / self._picked(bottom, self._labels)
        gradient = torch.zeros_like(bottom[0].data_tensor.reshape(n, -1))
        gradient.scatter_(1, self._labels, slope)
        bottom[0].set_diff(gradient.reshape(bottom[0].dims))
