"""Dropout (Caffe `L/dropout_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.core import random
from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["Dropout"]


@register("Dropout")
class Dropout(NeuronLayer):
    """Zeroes values with probability `dropout_ratio` in TRAIN and scales the rest by 1/(1-ratio).

    The identity in TEST. The mask is kept for backward. Two forks' fields change this:
    `scale_train: false` (Faster R-CNN) leaves the rest as it is in TRAIN and scales all by 1-ratio
    in TEST; `sample_weights_test` (Bayesian SegNet) draws in TEST too.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.dropout_param
        ratio = param.dropout_ratio
        if not 0 <= ratio < 1:
            raise PrototxtError(
                f"layer '{self.name}': dropout_ratio must be at least 0 and below 1, it is "
                f"{ratio:g}"
            )
        self._keep = 1.0 - ratio
        # The expectation is kept either in training (Caffe: the rest is scaled up) or in testing
        # (`scale_train: false`: all is scaled down).
        self._draws = self.phase == caffe_pb2.TRAIN or param.sample_weights_test
        self._kept = 1.0 / self._keep if param.scale_train else 1.0
        self._scale = 1.0 if param.scale_train else self._keep
        self._mask: Tensor | None = None

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Draws a new mask in TRAIN."""
        x = bottom[0].data_tensor
        if self._draws:
            # Drawn in C order whatever the order of x, so that a seed means the same mask.
            mask = torch.empty(x.shape, device=x.device)
            mask.bernoulli_(self._keep, generator=random.generator(x.device))
            self._mask = mask.mul_(self._kept)
            top[0].set_data(x * self._mask)
        elif self._scale != 1.0:
            top[0].set_data(x * self._scale)
        elif bottom[0] is not top[0]:
            top[0].set_data(x.clone())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Applies the mask of the last forward pass."""
        if not propagate_down[0]:
            return
        gradient = top[0].diff_tensor
        if self._draws and self._mask is not None:
            bottom[0].set_diff(gradient * self._mask)
        elif self._scale != 1.0:
            bottom[0].set_diff(gradient * self._scale)
        elif bottom[0] is not top[0]:
            bottom[0].set_diff(gradient.clone())
