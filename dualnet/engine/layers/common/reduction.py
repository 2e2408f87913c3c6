"""Reduction and ArgMax (Caffe `L/reduction_layer.cpp`, `argmax_layer.cpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["ArgMax", "Reduction"]

_SUM = caffe_pb2.ReductionParameter.SUM
_ASUM = caffe_pb2.ReductionParameter.ASUM
_SUMSQ = caffe_pb2.ReductionParameter.SUMSQ
_MEAN = caffe_pb2.ReductionParameter.MEAN


@register("Reduction")
class Reduction(Layer):
    """coeff times the sum (or sum of magnitudes, of squares, or mean) from `axis` to the last axis.

    Bottom: any shape. Top: the axes before `axis`; a scalar for axis 0.
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.reduction_param
        self._operation = param.operation
        self._axis, self._given = param.axis, param.coeff

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        axis = self.axis(self._axis, bottom[0])
        self._dim = math.prod(dims[axis:])
        self._coefficient = self._given
        if self._operation == _MEAN:
            self._coefficient /= self._dim or 1
        top[0].reshape(*dims[:axis])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data_tensor.reshape(*top[0].dims, self._dim)
        if self._operation == _ASUM:
            x = x.abs()
        elif self._operation == _SUMSQ:
            x = x * x
        top[0].set_data(x.sum(dim=-1) * self._coefficient)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Multiplies by the slope: 1, the sign (0 at 0), or 2 x."""
        if not propagate_down[0]:
            return
        dims = bottom[0].dims
        scaled = top[0].diff_tensor * self._coefficient
        scaled = scaled.reshape(top[0].dims + (1,) * (len(dims) - len(top[0].dims)))
        if self._operation == _ASUM:
            result = bottom[0].data_tensor.sign() * scaled
        elif self._operation == _SUMSQ:
            result = bottom[0].data_tensor * (2 * scaled)
        else:
            result = scaled.expand(dims).contiguous()
        bottom[0].set_diff(result)


@register("ArgMax")
class ArgMax(Layer):
    """The positions of the `top_k` largest values, the largest first; of equal ones the last.

    With `axis`, bottom (…, n, …) gives top (…, top_k, …): positions, or with `out_max_val` the
    values. Without, each sample counts as one row: top (N, 1, top_k), or (N, 2, top_k) of positions
    and values; further axes of the bottom are kept as ones. There is no gradient.
    """

    bottoms = 1
    tops = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Positions have no gradient."""
        return False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.argmax_param
        self._axis: int | None = param.axis if param.HasField("axis") else None
        self._k: int = param.top_k
        self._values: bool = param.out_max_val
        if not self._k:
            raise PrototxtError(f"layer '{self.name}' (ArgMax): top_k must be 1 or more, it is 0")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if self._axis is not None:
            axis = self.axis(self._axis, bottom[0])
            available = dims[axis]
            shape = [*dims[:axis], self._k, *dims[axis + 1 :]]
        else:
            available = math.prod(dims[1:])
            shape = [*dims[:1], 2 if self._values else 1, self._k, *([1] * (len(dims) - 3))]
        if self._k > available:
            raise ShapeError(
                f"layer '{self.name}' (ArgMax): top_k must be at most {available}, the number of "
                f"values to choose from in a bottom of shape {dims}, it is {self._k}"
            )
        top[0].reshape(*shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Sorts the reversed values in a stable way, and maps the places back.

        Of equal values the last one then comes first, as with Caffe's partial sort of pairs
        (value, place) in falling order.
        """
        x = bottom[0].data_tensor
        dim = -1 if self._axis is None else self.axis(self._axis, bottom[0])
        if self._axis is None:
            x = x.reshape(len(x), -1)
        values, order = x.flip(dim).sort(dim=dim, descending=True, stable=True)
        values, order = values.narrow(dim, 0, self._k), order.narrow(dim, 0, self._k)
        positions = (x.shape[dim] - 1 - order).to(torch.float32)
        if self._axis is None:
            rows = [positions, values] if self._values else [positions]
            top[0].set_data(torch.stack(rows, dim=1))
        else:
            top[0].set_data(values.contiguous() if self._values else positions)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Raises GraphError where a gradient is asked for."""
        if propagate_down[0]:
            raise GraphError(
                f"layer '{self.name}' (ArgMax) has no gradient for bottom 0; set propagate_down "
                "to false for it"
            )
