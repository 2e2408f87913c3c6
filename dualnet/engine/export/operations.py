"""The operation of each layer type: the engine's layer, or the same written down for a trace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

import torch
from torch import Tensor
from torch.nn import functional

from dualnet.engine.export import windows
from dualnet.engine.export.operation import EngineOperation, Operation, named_weights
from dualnet.engine.net.node import Node
from dualnet.engine.proto import caffe_pb2

__all__ = ["operation"]


class _ArgMax:
    """The places of the largest values, of equal ones the last first (argmax_layer.cpp)."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.argmax_param
        self._k, self._values = param.top_k, param.out_max_val
        self._axis: Optional[int] = None
        if param.HasField("axis"):
            self._axis = node.layer.axis(param.axis, node.bottoms[0])
        self._ones = max(node.bottoms[0].ndim - 3, 0)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0] if self._axis is not None else inputs[0].flatten(1)
        dim = 1 if self._axis is None else self._axis
        flipped = rest = x.flip(dim)
        found: list[Tensor] = []
        # One after the other: ONNX has no stable sort, and what topk does with equal ones is open.
        while len(found) < self._k:
            found.append(rest.argmax(dim, keepdim=True))
            rest = rest.scatter(dim, found[-1], -math.inf)
        order = torch.cat(found, dim)
        places, values = (x.shape[dim] - 1 - order).to(torch.float32), flipped.gather(dim, order)
        if self._axis is not None:
            return [values if self._values else places]
        rows = torch.stack([places, values] if self._values else [places], dim=1)
        for _ in range(self._ones):
            rows = rows.unsqueeze(-1)
        return [rows]


class _InnerProduct:
    """x W' + b (inner_product_layer.cpp).

    The engine chooses between two libraries by the size of the batch, which is open here.
    """

    def __init__(self, node: Node) -> None:
        param = node.param.inner_product_param
        self._axis = node.layer.axis(param.axis, node.bottoms[0])
        found = named_weights(node.layer)
        if param.transpose:
            found["weight"] = found["weight"].t().contiguous()
        self.weights: Mapping[str, Tensor] = found

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        rows = inputs[0].flatten(self._axis)
        return [functional.linear(rows, weights["weight"], weights.get("bias"))]


class _BatchNorm:
    """Normalisation by the stored statistics (batch_norm_layer.cpp).

    Caffe stores sums and what they are to be divided by, PyTorch the quotients.
    """

    def __init__(self, node: Node) -> None:
        param = node.param.batch_norm_param
        self._eps = param.eps
        self._is_of_batch = param.HasField("use_global_stats") and not param.use_global_stats
        self.weights: Mapping[str, Tensor] = {}
        if not self._is_of_batch:
            mean, variance, factor = (blob.data_tensor for blob in node.layer.blobs)
            scale = 1.0 / float(factor) if float(factor) else 0.0
            self.weights = {"running_mean": mean * scale, "running_var": variance * scale}

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        mean, variance = weights.get("running_mean"), weights.get("running_var")
        x = inputs[0]
        y = functional.batch_norm(x, mean, variance, None, None, self._is_of_batch, 0.0, self._eps)
        return [y]


class _Dropout:
    """The identity, or with a fork's `scale_train: false` a factor (dropout_layer.cpp)."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.dropout_param
        self._factor = 1.0 if param.scale_train else 1.0 - param.dropout_ratio

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        return [inputs[0] if self._factor == 1 else inputs[0] * self._factor]


class _Reshape:
    """Other dimensions for the same values (reshape_layer.cpp); the engine counts the values."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.reshape_param
        count = node.bottoms[0].ndim
        self._start = param.axis if param.axis >= 0 else count + param.axis + 1
        self._end = count if param.num_axes == -1 else self._start + param.num_axes
        self._dims = list(param.shape.dim)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0]
        before, after = x.shape[: self._start], x.shape[self._end :]
        middle = [x.shape[self._start + i] if d == 0 else d for i, d in enumerate(self._dims)]
        return [x.reshape(*before, *middle, *after)]


class _Embed:
    """A table of vectors (embed_layer.cpp); the engine looks whether all numbers are in it."""

    def __init__(self, node: Node) -> None:
        self.weights: Mapping[str, Tensor] = named_weights(node.layer)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        rows = functional.embedding(inputs[0].to(torch.int64), weights["weight"])
        return [rows + weights["bias"] if "bias" in weights else rows]


class _Maximum:
    """Eltwise's MAX (eltwise_layer.cpp); the engine keeps for backward whose each maximum is."""

    weights: Mapping[str, Tensor] = {}

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        largest = inputs[0]
        for values in inputs[1:]:
            largest = torch.maximum(largest, values)
        return [largest]


def _eltwise(node: Node) -> Operation:
    is_max = node.param.eltwise_param.operation == caffe_pb2.EltwiseParameter.MAX
    return _Maximum() if is_max else EngineOperation(node)


class _Reduction:
    """Sums or means from an axis on (reduction_layer.cpp)."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.reduction_param
        self._operation, self._coefficient = param.operation, param.coeff
        self._axis = node.layer.axis(param.axis, node.bottoms[0])
        if param.operation == caffe_pb2.ReductionParameter.MEAN:
            self._coefficient /= math.prod(node.bottoms[0].dims[self._axis :]) or 1

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0].flatten(self._axis)
        if self._operation == caffe_pb2.ReductionParameter.ASUM:
            x = x.abs()
        elif self._operation == caffe_pb2.ReductionParameter.SUMSQ:
            x = x * x
        return [x.sum(-1) * self._coefficient]


_WRITTEN_ANEW: dict[str, Callable[[Node], Operation]] = {
    "ArgMax": _ArgMax,
    "BatchNorm": _BatchNorm,
    "Dropout": _Dropout,
    "Eltwise": _eltwise,
    "Embed": _Embed,
    "InnerProduct": _InnerProduct,
    "LRN": windows.lrn,
    "Pooling": windows.pooling,
    "Reduction": _Reduction,
    "Reshape": _Reshape,
    "SPP": windows.spp,
}


def operation(node: Node) -> Operation:
    """A layer's operation.

    Args:
        node: the layer in a net that is built and has its weights.
    """
    return _WRITTEN_ANEW.get(node.param.type, EngineOperation)(node)
