"""Base of activations whose gradient is a function of the input."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer

__all__ = ["InputNeuron"]


class InputNeuron(NeuronLayer):
    """An activation given by its value and its gradient as functions of its input.

    In place, the input is saved for backward. BVLC Caffe does not save it and silently computes
    wrong gradients: BNLL and Clip take them at their output, and Log and Power overwrite the top's
    gradient before they read it. Out of place the results are Caffe's.
    """

    _input: Tensor | None = None

    def _value(self, x: Tensor) -> Tensor:
        """The output, in new memory, for an input of any shape."""
        raise NotImplementedError

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The gradient with respect to the input, in new memory."""
        raise NotImplementedError

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        self._input = x if in_place else None
        top[0].set_data(self._value(x))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Multiplies by the derivative at the input."""
        if propagate_down[0]:
            x = bottom[0].data_tensor if self._input is None else self._input
            bottom[0].set_diff(self._gradient(top[0].diff_tensor, x))
