"""Eltwise: product, weighted sum or maximum of several blobs (Caffe `L/eltwise_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["Eltwise"]


@register("Eltwise")
class Eltwise(Layer):
    """Combines two or more bottoms of one shape into one top of that shape."""

    bottoms = (2, None)
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.eltwise_param
        if param.coeff and len(param.coeff) != len(bottom):
            raise PrototxtError(
                f"layer '{self.name}': Eltwise takes one coeff a bottom: {len(bottom)} bottoms, "
                f"{len(param.coeff)} coeff"
            )
        if param.coeff and param.operation == param.PROD:
            raise PrototxtError(f"layer '{self.name}': Eltwise PROD takes no coeff")
        self._operation = param.operation
        self._coefficients: list[float] = list(param.coeff) or [1.0] * len(bottom)
        self._stable = param.stable_prod_grad
        self._winner: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        for blob in bottom[1:]:
            self.check_same_shape(bottom[0], blob, "all bottoms")
        top[0].reshape_like(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Combines. MAX keeps for backward which bottom each maximum belongs to.

        Ties are Caffe's: bottom 1 wins over bottom 0, a later one only if it is strictly larger.
        """
        values = [blob.data_tensor for blob in bottom]
        if self._operation == caffe_pb2.EltwiseParameter.SUM:
            result = values[0] * self._coefficients[0]
            for value, coefficient in zip(values[1:], self._coefficients[1:]):
                result.add_(value, alpha=coefficient)
        elif self._operation == caffe_pb2.EltwiseParameter.PROD:
            result = values[0] * values[1]
            for value in values[2:]:
                result *= value
        else:
            # One pass a bottom, so that ties fall as in Caffe's loop: <= for the first two, then >.
            second = values[0] <= values[1]
            result = torch.where(second, values[1], values[0])
            winner = second.to(torch.int64)
            for index, value in enumerate(values[2:], start=2):
                larger = value > result
                result = torch.where(larger, value, result)
                winner[larger] = index
            self._winner = winner
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        gradient = top[0].diff_tensor
        for index, wanted in enumerate(propagate_down):
            if not wanted:
                continue
            if self._operation == caffe_pb2.EltwiseParameter.SUM:
                result = gradient * self._coefficients[index]
            elif self._operation == caffe_pb2.EltwiseParameter.PROD:
                result = gradient * self._product_of_others(index, top, bottom)
            else:
                result = gradient * (self._winner == index)
            bottom[index].set_diff(result)

    def _product_of_others(self, index: int, top: Blobs, bottom: Blobs) -> Tensor:
        # By default as Caffe: one division, which gives NaN where the bottom is 0. With
        # `stable_prod_grad` the others are multiplied again.
        if not self._stable:
            return top[0].data_tensor / bottom[index].data_tensor
        others = [blob.data_tensor for i, blob in enumerate(bottom) if i != index]
        result = others[0]
        for other in others[1:]:
            result = result * other
        return result
