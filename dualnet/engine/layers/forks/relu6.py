"""ReLU6: a ReLU that stops at 6 (MobileNet-YOLO)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register

__all__ = ["ReLU6"]


@register("ReLU6")
class ReLU6(NeuronLayer):
    """min(max(x, 0) + negative_slope * min(x, 0), 6); no gradient from 6 on.

    In place the gradient is found from the output, as in the fork.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._slope: float = self.layer_param.relu6_param.negative_slope

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data_tensor
        top[0].set_data(torch.where(x > 0, x, x * self._slope).clamp_max(6.0))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Passes the gradient between 0 and 6, below 0 times the slope."""
        if propagate_down[0]:
            x, gradient = bottom[0].data_tensor, top[0].diff_tensor
            slope = torch.where(x > 0, 1.0, self._slope) * (x < 6.0)
            bottom[0].set_diff(gradient * slope)
