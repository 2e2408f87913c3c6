"""Element-wise activations that may run in place: ReLU, Sigmoid, TanH (Caffe `L/*_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["NeuronLayer", "ReLU", "Sigmoid", "TanH"]

_aten = torch.ops.aten


class NeuronLayer(Layer):
    """Base of layers with one bottom and one top of its shape, possibly the same blob."""

    bottoms = 1
    tops = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape_like(bottom[0])


@register("ReLU")
class ReLU(NeuronLayer):
    """max(x, 0) + negative_slope * min(x, 0); the gradient at 0 is that of the negative side."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._slope: float = self.layer_param.relu_param.negative_slope

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Rectifies; in place it changes the bottom's own memory."""
        x = bottom[0].data_tensor
        if bottom[0] is top[0]:
            top[0].set_data(_aten.leaky_relu_(x, self._slope) if self._slope else _aten.relu_(x))
        else:
            top[0].drop_data()  # see Convolution
            top[0].set_data(_aten.leaky_relu(x, self._slope) if self._slope else _aten.relu(x))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Passes the gradient where the data, now possibly rectified, are above 0."""
        if not propagate_down[0]:
            return
        x, gradient = bottom[0].data_tensor, top[0].diff_tensor
        # In place, top and bottom share one gradient: the result is written into it.
        over = {"grad_input": gradient} if bottom[0] is top[0] else {}
        if not over:
            bottom[0].drop_diff()
        # In place x is the rectified value, whose sign is that of the input (for slopes above 0).
        if self._slope:
            result = _aten.leaky_relu_backward(gradient, x, self._slope, False, **over)
        else:
            result = _aten.threshold_backward(gradient, x, 0, **over)
        if not over:
            bottom[0].set_diff(result)


class _FromOutput(NeuronLayer):
    """Activations whose gradient needs only their output."""

    def _value(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(self._value(bottom[0].data_tensor))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Multiplies by the derivative, computed from the top's data."""
        if propagate_down[0]:
            bottom[0].set_diff(self._gradient(top[0].diff_tensor, top[0].data_tensor))


@register("Sigmoid")
class Sigmoid(_FromOutput):
    """1 / (1 + exp(-x))."""

    def _value(self, x: Tensor) -> Tensor:
        return _aten.sigmoid(x)

    def _gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        return _aten.sigmoid_backward(gradient, y)


@register("TanH")
class TanH(_FromOutput):
    """The hyperbolic tangent."""

    def _value(self, x: Tensor) -> Tensor:
        return _aten.tanh(x)

    def _gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        return _aten.tanh_backward(gradient, y)
