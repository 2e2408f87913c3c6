"""Accuracy (Caffe `L/accuracy_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dualnet.engine.errors import GraphError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.loss.labels import class_labels, label_positions
from dualnet.engine.layers.registry import register

__all__ = ["Accuracy"]


@register("Accuracy")
class Accuracy(Layer):
    """The fraction of positions whose label is among the `top_k` highest scores.

    Bottoms: scores (N, C, …) and labels. Top 0: a scalar; top 1, if any: (C,), the accuracy of
    each class. Ties count against, and scores that are all NaN count as right, as on Caffe's CPU.
    """

    bottoms = 2
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.accuracy_param
        self._top_k = param.top_k
        self._axis = param.axis
        self._ignore = param.ignore_label if param.HasField("ignore_label") else None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that there is a label for every position."""
        dims = bottom[0].dims
        self._dim = self.axis(self._axis, bottom[0])
        classes = dims[self._dim]
        if self._top_k > classes:
            raise ShapeError(
                f"layer '{self.name}': top_k ({self._top_k}) must be less than or equal to the "
                f"number of classes ({classes})"
            )
        self._outer, self._inner = label_positions(self.name, bottom, self._dim, "axis")
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(classes)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Counts the positions where fewer than `top_k` others score as high as the label."""
        classes = bottom[0].dims[self._dim]
        scores = bottom[0].data_tensor.reshape(self._outer, classes, self._inner)
        labels = bottom[1].data_tensor.reshape(self._outer, 1, self._inner)
        labels = class_labels(self.name, labels, classes, self._ignore)
        counted = torch.ones_like(labels) if self._ignore is None else labels != self._ignore
        labels = labels * counted
        # The label's own score is among those >= it; equal scores of others count against it.
        rivals = (scores >= scores.gather(1, labels)).sum(dim=1, keepdim=True) - 1
        right = ((rivals < self._top_k) & counted.bool()).to(torch.float32)
        total = counted.sum().to(torch.float32)
        top[0].set_data(right.sum() / total.clamp_min(1.0))
        if len(top) > 1:
            flat = labels.reshape(-1)
            weights = counted.reshape(-1).to(torch.float32)
            hits = torch.zeros(classes, device=scores.device)
            hits.index_add_(0, flat, right.reshape(-1))
            each = torch.zeros(classes, device=scores.device).index_add_(0, flat, weights)
            top[1].set_data(hits / each.clamp_min(1.0))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Accuracy has no gradient.

        Raises:
            GraphError: one is asked for, as `force_backward` does.
        """
        if any(propagate_down):
            raise GraphError(
                f"layer '{self.name}': Accuracy has no gradient; remove it from a net with "
                "force_backward (include it in phase TEST only)"
            )
