"""A base for neurons whose gradient needs their input even where they overwrite it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer

__all__ = ["InputNeuron"]


class InputNeuron(NeuronLayer):
    """A neuron given by its value and its gradient as functions of its input.

    In place, the input is kept for backward. BVLC Caffe keeps nothing: there BNLL and Clip take
    the gradient at their output, and Log and Power overwrite the top's gradient before they read
    it, so their gradients are wrong without a word. Out of place the results are Caffe's.
    """

    _input: Tensor | None = None

    def _value(self, x: Tensor) -> Tensor:
        """The output, in new memory, for an input of any shape."""
        raise NotImplementedError

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The gradient with respect to the input, in new memory."""
        raise NotImplementedError

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Applies the function."""
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        self._input = x if in_place else None
        top[0].set_data(self._value(x))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Multiplies by the derivative at the input."""
        if propagate_down[0]:
            x = bottom[0].data_tensor if self._input is None else self._input
            bottom[0].set_diff(self._gradient(top[0].diff_tensor, x))
