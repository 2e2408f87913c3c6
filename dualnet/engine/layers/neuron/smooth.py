"""Smooth or learned activations: BNLL, ELU, PReLU, Swish.

Caffe `L/bnll_layer.cpp`, `elu_layer.cpp`, `prelu_layer.cpp`, `swish_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.neuron.input_neuron import InputNeuron
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["BNLL", "ELU", "PReLU", "Swish"]

_aten = torch.ops.aten


@register("BNLL")
class BNLL(InputNeuron):
    """log(1 + exp(x)), the binomial normal log likelihood."""

    def _value(self, x: Tensor) -> Tensor:
        # max(x, 0) + log(1 + exp(-|x|)) cannot overflow.
        return x.abs().neg_().exp_().log1p_().add_(x.clamp_min(0))

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient * x.sigmoid()


@register("ELU")
class ELU(NeuronLayer):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._alpha: float = self.layer_param.elu_param.alpha

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(_aten.elu(bottom[0].data_tensor, self._alpha))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Uses y + alpha as the derivative below 0; in place the sign of y stands for that of x."""
        if propagate_down[0]:
            gradient, x, y = top[0].diff_tensor, bottom[0].data_tensor, top[0].data_tensor
            bottom[0].set_diff(torch.where(x > 0, gradient, gradient * (y + self._alpha)))


@register("PReLU")
class PReLU(NeuronLayer):
    """max(x, 0) + slope * min(x, 0) with learned slopes.

    Bottom: (N, C, …). Parameter: (C,), or a scalar with `channel_shared`; 0.25 by default.
    """

    _input: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if len(dims) < 2:
            raise ShapeError(
                f"layer '{self.name}': PReLU needs 2 or more axes (N, C, …), bottom 0 has shape "
                f"{dims}; reshape it"
            )
        param = self.layer_param.prelu_param
        fill = caffe_pb2.FillerParameter(type="constant", value=0.25)
        shape = () if param.channel_shared else (dims[1],)
        self.add_param(shape, param.filler if param.HasField("filler") else fill)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that every channel has its slope."""
        dims, slopes = bottom[0].dims, self.blobs[0].dims
        if slopes and (len(dims) < 2 or dims[1] != slopes[0]):
            raise ShapeError(
                f"layer '{self.name}': PReLU has {slopes[0]} slopes, one a channel, and bottom 0 "
                f"now has shape {dims}; keep axis 1, or set channel_shared"
            )
        top[0].reshape_like(bottom[0])

    def _slopes(self, x: Tensor) -> Tensor:
        slopes = self.blobs[0].data_tensor
        return slopes.reshape(-1, *(1,) * (x.dim() - 2)) if slopes.dim() else slopes

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Applies the slopes; in place the input is kept for backward."""
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        self._input = x if in_place else None
        top[0].set_data(torch.where(x > 0, x, x * self._slopes(x)))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes the gradients of the slopes and of the input."""
        gradient = top[0].diff_tensor
        x = bottom[0].data_tensor if self._input is None else self._input
        if self.wants_param(0):
            slope = self.blobs[0]
            summed = [i for i in range(x.dim()) if i != 1 or not slope.dims]
            slope.add_diff((gradient * x.clamp_max(0)).sum(dim=summed))
        if propagate_down[0]:
            bottom[0].set_diff(torch.where(x > 0, gradient, gradient * self._slopes(x)))


@register("Swish")
class Swish(NeuronLayer):
    """x * sigmoid(beta * x)."""

    _gate: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._beta: float = self.layer_param.swish_param.beta

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Applies the function and keeps the sigmoid, so that it may run in place."""
        x = bottom[0].data_tensor
        self._gate = (x * self._beta).sigmoid_()
        top[0].set_data(x * self._gate)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """The derivative is beta y + sigmoid(beta x) (1 - beta y)."""
        if propagate_down[0] and self._gate is not None:
            scaled = top[0].data_tensor * self._beta
            slope = scaled + self._gate * (1 - scaled)
            bottom[0].set_diff(top[0].diff_tensor * slope)
