"""InnerProduct (Caffe `L/inner_product_layer.cpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.core.matrix import product
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["InnerProduct"]


@register("InnerProduct")
class InnerProduct(Layer):
    """A fully connected layer.

    Bottom: axes before `axis` count as the batch (M), the rest is flattened (K). Top: (M,
    num_output), with the bottom's leading axes. Parameters: weights (num_output, K), or (K,
    num_output) if `transpose`; bias (num_output,).
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.inner_product_param
        self._num_output = param.num_output
        if not self._num_output:
            raise PrototxtError(
                f"layer '{self.name}': inner_product_param needs num_output above 0"
            )
        self._transpose = param.transpose
        self._bias = param.bias_term
        self._axis = self.axis(param.axis, bottom[0])
        self._k = math.prod(bottom[0].dims[self._axis :])
        shape = [self._num_output, self._k]
        self.add_param(shape[::-1] if self._transpose else shape, param.weight_filler)
        if self._bias:
            self.add_param([self._num_output], param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the input size, which the weights fix."""
        dims = bottom[0].dims
        if math.prod(dims[self._axis :]) != self._k:
            raise ShapeError(
                f"layer '{self.name}': input size incompatible with inner product parameters: a "
                f"bottom of shape {dims} has {math.prod(dims[self._axis :])} values from axis "
                f"{self._axis} on, the weights {self.blobs[0].dims} need {self._k}"
            )
        top[0].reshape(*dims[: self._axis], self._num_output)

    def _weight(self) -> Tensor:
        """(num_output, K), whatever the stored order."""
        weight = self.blobs[0].data_tensor
        return weight.t() if self._transpose else weight

    def _rows(self, bottom: Blob) -> Tensor:
        """(M, K), also where one of them is 0."""
        return bottom.data_tensor.reshape(math.prod(bottom.dims[: self._axis]), self._k)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes x W' + b."""
        x = self._rows(bottom[0])
        bias = self.blobs[1].data_tensor if self._bias else None
        top[0].set_data(product(x, self._weight().t(), bias))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        gradient = top[0].diff_tensor.reshape(-1, self._num_output)
        if self.wants_param(0):
            x = self._rows(bottom[0])
            # In the order in which the weights are stored, so that the sum needs no transposition.
            pair = (x.t(), gradient) if self._transpose else (gradient.t(), x)
            self.blobs[0].add_diff(product(*pair))
        if self._bias and self.wants_param(1):
            self.blobs[1].add_diff(gradient.sum(dim=0))
        if propagate_down[0]:
            bottom[0].set_diff(product(gradient, self._weight()))
