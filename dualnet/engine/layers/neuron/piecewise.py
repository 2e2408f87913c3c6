"""Piecewise linear or constant activations: AbsVal, Clip, Threshold.

Caffe `L/absval_layer.cpp`, `clip_layer.cpp`, `threshold_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import GraphError, PrototxtError, UnsupportedError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.neuron.input_neuron import InputNeuron
from dualnet.engine.layers.registry import register

__all__ = ["AbsVal", "Clip", "Threshold"]


@register("AbsVal")
class AbsVal(NeuronLayer):
    """|x|, with gradient 0 at 0. Never in place, because backward needs the sign."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Refuses to run in place, as Caffe does."""
        if bottom[0] is top[0]:
            raise GraphError(
                f"layer '{self.name}': AbsVal does not allow in-place computation, its bottom and "
                "top are the same blob; give the top a name of its own"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(bottom[0].data_tensor.abs())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            bottom[0].set_diff(top[0].diff_tensor * bottom[0].data_tensor.sign())


@register("Clip")
class Clip(InputNeuron):
    """max(min, min(max, x)); the gradient passes from min to max, both included."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.clip_param
        if not self.layer_param.HasField("clip_param"):
            raise PrototxtError(
                f"layer '{self.name}': Clip has no clip_param, so both bounds would be 0; write "
                "clip_param { min: … max: … }"
            )
        if param.min > param.max:
            raise PrototxtError(
                f"layer '{self.name}': clip_param has min {param.min:g} above max {param.max:g}; "
                "exchange them"
            )
        self._min: float = param.min
        self._max: float = param.max

    def _value(self, x: Tensor) -> Tensor:
        return x.clamp(self._min, self._max)

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient * ((x >= self._min) & (x <= self._max))


@register("Threshold")
class Threshold(NeuronLayer):
    """1 where x > threshold, else 0. It has no gradient."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._threshold: float = self.layer_param.threshold_param.threshold

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data((bottom[0].data_tensor > self._threshold).to(torch.float32))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Refuses, as Caffe does, where a gradient is wanted."""
        if propagate_down[0]:
            raise UnsupportedError(
                f"layer '{self.name}': Threshold has no gradient, and bottom 0 of shape "
                f"{bottom[0].dims} wants one; set propagate_down to false for it"
            )
