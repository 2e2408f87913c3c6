"""Layers that average over windows: Pooling's AVE and STOCHASTIC, SPP, LRN.

Windows that overhang the image are padded by hand here: PyTorch's `ceil_mode` and ONNX's do not
agree on what an average over such a window is divided by, and ONNX has no divisor of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dualnet.engine.export.operation import EngineOperation, Operation
from dualnet.engine.layers.vision.pooling import Pooling
from dualnet.engine.layers.vision.pooling_geometry import PoolingGeometry
from dualnet.engine.layers.vision.spp import SPP
from dualnet.engine.net.node import Node
from dualnet.engine.proto import caffe_pb2

__all__ = ["lrn", "pooling", "spp"]

_CPU = torch.device("cpu")


class _Average:
    """Averages over windows of images of one size (pooling_layer.cpp).

    Args:
        geometry: that of the windows.
        size: height and width of the images.
    """

    def __init__(self, geometry: PoolingGeometry, size: tuple[int, int]) -> None:
        self._geometry = geometry
        self._margins = geometry.margins(size)
        areas = geometry.divisors(size, _CPU)
        height, width = geometry.kernel
        # Caffe divides by the part of a window inside image and padding, the operator by all of it.
        self._shares = (height * width / areas).tolist()
        _, right, _, bottom = self._margins
        pad_h, pad_w = geometry.pad
        self._is_inside = (
            right <= pad_w and bottom <= pad_h and 2 * pad_h <= height and 2 * pad_w <= width
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        w = self._geometry
        if self._is_inside:
            return functional.avg_pool2d(x, w.kernel, w.stride, w.pad, count_include_pad=True)
        padded = functional.pad(x, self._margins)
        return functional.avg_pool2d(padded, w.kernel, w.stride) * torch.tensor(self._shares)


class _AveragePooling:
    """Pooling's AVE."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, layer: Pooling, size: tuple[int, int]) -> None:
        self._average = _Average(layer.geometry, size)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        return [self._average(inputs[0])]


class _Expectation(_AveragePooling):
    """Pooling's STOCHASTIC in tests: the average of the values, weighted by themselves."""

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0]
        mean = self._average(x)
        return [torch.where(mean > 0, self._average(x * x) / mean, 0.0)]


def pooling(node: Node) -> Operation:
    """Pooling; MAX is the engine's own."""
    layer = node.layer
    kind = node.param.pooling_param.pool
    if not isinstance(layer, Pooling) or kind == caffe_pb2.PoolingParameter.MAX:
        return EngineOperation(node)
    size = node.bottoms[0].dims[2], node.bottoms[0].dims[3]
    is_average = kind == caffe_pb2.PoolingParameter.AVE
    return (_AveragePooling if is_average else _Expectation)(layer, size)


class _Pyramid:
    """Grids of several sizes, joined as one vector (spp_layer.cpp)."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, grids: Sequence[Operation]) -> None:
        self._grids = grids

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        parts = [grid({}, inputs)[0] for grid in self._grids]
        return [torch.cat([part.flatten(1) for part in parts], 1) if len(parts) > 1 else parts[0]]


def spp(node: Node) -> Operation:
    """Spatial pyramid pooling: each of its grids is a Pooling layer."""
    layer = node.layer
    grids = layer.grids if isinstance(layer, SPP) else []
    return _Pyramid([pooling(Node(g.name, g.layer_param, g, node.bottoms, [t])) for g, t in grids])


class _AcrossChannels:
    """LRN over neighbouring channels (lrn_layer.cpp); it adds up in the engine's order."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.lrn_param
        self._alpha, self._beta, self._k = param.alpha / param.local_size, param.beta, param.k
        self._channels = node.bottoms[0].dims[1]
        # The window is clamped to the channels that exist.
        self._reach = min((param.local_size - 1) // 2, self._channels - 1)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0]
        sums = square = x * x
        padded = functional.pad(square, (0, 0, 0, 0, self._reach, self._reach))
        for distance in range(1, self._reach + 1):
            for start in (self._reach - distance, self._reach + distance):
                sums = sums + padded[:, start : start + self._channels]
        return [(sums * self._alpha + self._k).pow(-self._beta) * x]


class _WithinChannel:
    """LRN over positions; k is 1 there (lrn_layer.cpp)."""

    weights: Mapping[str, Tensor] = {}

    def __init__(self, node: Node) -> None:
        param = node.param.lrn_param
        n, margin = param.local_size, (param.local_size - 1) // 2
        geometry = PoolingGeometry((n, n), (1, 1), (margin, margin))
        dims = node.bottoms[0].dims
        self._average = _Average(geometry, (dims[2], dims[3]))
        self._alpha, self._beta = param.alpha, param.beta

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        x = inputs[0]
        return [(self._average(x * x) * self._alpha + 1.0).pow(-self._beta) * x]


def lrn(node: Node) -> Operation:
    """Local response normalisation of either kind."""
    region = node.param.lrn_param.norm_region
    is_across = region == caffe_pb2.LRNParameter.ACROSS_CHANNELS
    return (_AcrossChannels if is_across else _WithinChannel)(node)
