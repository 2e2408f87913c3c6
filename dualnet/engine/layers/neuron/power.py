"""Powers and their inverses: Exp, Log, Power.

Caffe `L/exp_layer.cpp`, `log_layer.cpp`, `power_layer.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.neuron.input_neuron import InputNeuron
from dualnet.engine.layers.registry import register

__all__ = ["Exp", "Log", "Power"]


def _log_base(name: str, message: str, base: float) -> float:
    """The natural logarithm of a base, of e where it is -1."""
    if base == -1:
        return 1.0
    if not 0 < base < math.inf:
        raise PrototxtError(
            f"layer '{name}': {message}.base must be strictly positive and finite, or -1 for e; "
            f"it is {base:g}"
        )
    return math.log(base)


@register("Exp")
class Exp(NeuronLayer):
    """base ^ (scale * x + shift); a base of -1 stands for e."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Turns the base into factors inside and outside exp."""
        param = self.layer_param.exp_param
        log_base = _log_base(self.name, "exp_param", param.base)
        self._inner = log_base * param.scale
        try:
            self._outer = math.exp(log_base * param.shift)
        except OverflowError as error:
            raise PrototxtError(
                f"layer '{self.name}': exp_param gives base ^ shift = {param.base:g} ^ "
                f"{param.shift:g}, which is infinite; lower shift"
            ) from error

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        y = (bottom[0].data_tensor * self._inner).exp_()
        top[0].set_data(y if self._outer == 1 else y.mul_(self._outer))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """The derivative is log(base) * scale * y, so it may run in place."""
        if propagate_down[0]:
            bottom[0].set_diff(top[0].diff_tensor * top[0].data_tensor * self._inner)


@register("Log")
class Log(InputNeuron):
    """log(scale * x + shift) to a base; -1 stands for e."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.log_param
        log_base = _log_base(self.name, "log_param", param.base)
        if log_base == 0:
            raise PrototxtError(
                f"layer '{self.name}': log_param.base {param.base:g} has no logarithms, because "
                "1 / log(1) is infinite; choose another base"
            )
        self._factor = 1 / log_base
        self._scale: float = param.scale
        self._shift: float = param.shift

    def _value(self, x: Tensor) -> Tensor:
        return (x * self._scale).add_(self._shift).log_().mul_(self._factor)

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        inner = (x * self._scale).add_(self._shift)
        return gradient * (self._scale * self._factor) / inner


@register("Power")
class Power(InputNeuron):
    """(shift + scale * x) ^ power.

    Where shift + scale * x is 0 and power above 1, the gradient is 0 (Caffe computes 0 / 0 there).
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.power_param
        self._power: float = param.power
        self._scale: float = param.scale
        self._shift: float = param.shift
        self._slope = self._power * self._scale

    def _inner(self, x: Tensor) -> Tensor:
        return (x * self._scale).add_(self._shift)

    def _value(self, x: Tensor) -> Tensor:
        if self._slope == 0:  # a constant, even where x is not finite
            base = torch.full_like(x, self._shift)
            return base.pow_(self._power)
        inner = self._inner(x)
        return inner if self._power == 1 else inner.pow_(self._power)

    def _gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        if self._slope == 0:
            return torch.zeros_like(gradient)
        if self._power == 1:
            return gradient * self._slope
        return gradient * self._inner(x).pow_(self._power - 1).mul_(self._slope)
