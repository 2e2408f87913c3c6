"""Softmax and SoftmaxWithLoss (Caffe `L/softmax_layer.cpp`, `softmax_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Arity, Blobs, LossLayer
from dualnet.engine.layers.loss.labels import (
    class_labels,
    label_positions,
    normalization_mode,
    normalizer,
)
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register

__all__ = ["Softmax", "SoftmaxWithLoss"]

_aten = torch.ops.aten
_FLT_MIN = torch.finfo(torch.float32).tiny


@register("Softmax")
class Softmax(NeuronLayer):
    """exp(x) / sum(exp(x)) along `axis`."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._axis = self.layer_param.softmax_param.axis

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._dim = self.axis(self._axis, bottom[0])
        top[0].reshape_like(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(_aten._softmax(bottom[0].data_tensor, self._dim, False))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes (g - sum(g p)) p."""
        if propagate_down[0]:
            bottom[0].set_diff(
                _aten._softmax_backward_data(
                    top[0].diff_tensor, top[0].data_tensor, self._dim, torch.float32
                )
            )


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossLayer):
    """Multinomial logistic loss of the softmax of bottom 0.

    Bottoms: scores (N, C, …) and labels, one for every position. Top 0: the scalar loss; top 1,
    if any: the probabilities. A probability counts as at least FLT_MIN, so one loss is at most
    87.3365. SegNet's `weight_by_label_freqs` multiplies each position's loss by the
    `class_weighting` of its label; the divisor stays the number of positions.
    """

    tops: ClassVar[Arity] = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.loss_param
        self._ignore = param.ignore_label if param.HasField("ignore_label") else None
        self._mode = normalization_mode(param, param.VALID)
        self._axis = self.layer_param.softmax_param.axis
        self._class_weights = torch.tensor(list(param.class_weighting))
        self._is_weighted: bool = param.weight_by_label_freqs
        self._labels: Tensor | None = None
        self._probability: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that there is a label for every position."""
        super().reshape(bottom, top)
        dims = bottom[0].dims
        self._dim = self.axis(self._axis, bottom[0])
        self._outer, self._inner = label_positions(self.name, bottom, self._dim, "softmax axis")
        if self._is_weighted and len(self._class_weights) != dims[self._dim]:
            raise PrototxtError(
                f"layer '{self.name}': weight_by_label_freqs needs one class_weighting a class: "
                f"there are {len(self._class_weights)} for the {dims[self._dim]} of predictions "
                f"{dims}"
            )
        if len(top) > 1:
            top[1].reshape_like(bottom[0])

    def _label_weights(self, labels: Tensor) -> Tensor:
        """The weight of each label's class, float32, of the labels' shape."""
        self._class_weights = self._class_weights.to(labels.device)
        return self._class_weights[labels]

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        scores = bottom[0].data_tensor
        classes = scores.shape[self._dim]
        flat = (self._outer, classes, self._inner)
        probability = _aten._softmax(scores, self._dim, False)
        labels = bottom[1].data_tensor.reshape(self._outer, 1, self._inner)
        labels = class_labels(self.name, labels, classes, self._ignore)
        counted = None if self._ignore is None else labels != self._ignore
        if counted is not None:
            # Ignored labels become class 0, so that gather stays in range; `counted` zeroes their
            # loss and gradient afterwards.
            labels = labels * counted
        # The clamp is Caffe's: log(0) would be infinite.
        picked = probability.reshape(flat).gather(1, labels).clamp_min_(_FLT_MIN).log_()
        valid: int | Tensor = labels.numel()
        if counted is not None:
            picked *= counted
            valid = counted.sum()
        if self._is_weighted:
            picked *= self._label_weights(labels)
        self._divisor = normalizer(self._mode, self._outer, self._inner, valid)
        self._probability, self._labels, self._counted = probability, labels, counted
        self.set_loss(top, picked.sum().neg_().div_(self._divisor))
        if len(top) > 1:
            top[1].set_data(probability.clone())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes (p - one_hot(label)) * weight / divisor, 0 at ignored labels."""
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0] or self._probability is None or self._labels is None:
            return
        p = self._probability
        gradient = p.reshape(self._outer, -1, self._inner).clone()
        # p - one_hot(label), without building the one-hot array.
        one = torch.full_like(self._labels, -1.0, dtype=torch.float32)
        gradient.scatter_add_(1, self._labels, one)
        if self._counted is not None:
            gradient *= self._counted
        if self._is_weighted:
            gradient *= self._label_weights(self._labels)
        gradient *= top[0].diff_tensor.reshape(()) / self._divisor
        bottom[0].set_diff(gradient.view(p.shape))
