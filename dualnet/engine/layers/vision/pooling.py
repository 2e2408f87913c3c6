"""Pooling (Caffe `L/pooling_layer.cpp`, `pooling_layer.cu`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.core import device
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.layers.vision.pooling_geometry import (
    PoolingGeometry,
    average,
    average_backward,
    crop,
)
from dualnet.engine.layers.vision.stochastic_pooling import StochasticPooling
from dualnet.engine.proto import caffe_pb2

__all__ = ["Pooling"]

_aten = torch.ops.aten
_FLT_MAX = torch.finfo(torch.float32).max


@register("Pooling")
class Pooling(Layer):
    """Maximum, average or a random draw over windows.

    BVLC Caffe has STOCHASTIC on the GPU only; here it runs on both devices. Bottom: (N, C, H, W).
    Top 0: (N, C, H', W'). Top 1 (MAX only): the winners' positions h * W + w in their planes, as
    float32.
    """

    bottoms = 1
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.pooling_param
        self._is_max = param.pool == caffe_pb2.PoolingParameter.MAX
        self._random: StochasticPooling | None = None
        if param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
            self._random = StochasticPooling(draws=self.phase == caffe_pb2.TRAIN)
        if len(top) > 1 and not self._is_max:
            raise PrototxtError(f"layer '{self.name}': only MAX pooling has a second top")
        kernel = self._pair("kernel")
        if param.global_pooling:
            if kernel is not None:
                raise PrototxtError(
                    f"layer '{self.name}': global_pooling excludes kernel_size, it is {kernel}"
                )
            kernel = (1, 1)  # replaced by the image's size in reshape
        elif kernel is None or 0 in kernel:
            raise PrototxtError(
                f"layer '{self.name}': pooling_param needs kernel_size, or kernel_h and kernel_w, "
                "above 0"
            )
        stride, pad = self._pair("stride") or (1, 1), self._pair("pad") or (0, 0)
        if param.global_pooling and (pad != (0, 0) or stride != (1, 1)):
            raise PrototxtError(
                f"layer '{self.name}': global_pooling needs pad 0 and stride 1, they are {pad} "
                f"and {stride}"
            )
        if 0 in stride or (not param.global_pooling and any(p >= k for p, k in zip(pad, kernel))):
            raise PrototxtError(
                f"layer '{self.name}': pad {pad} must be below the kernel {kernel}, and stride "
                f"{stride} above 0"
            )
        if self._random and pad != (0, 0):
            raise PrototxtError(
                f"layer '{self.name}': STOCHASTIC pooling has no padding, pad is {pad}; use 0"
            )
        ceil = self._rounds_up()
        self._global = param.global_pooling
        # As in the file, and clamped to the image in reshape.
        self._given = self._geometry = PoolingGeometry(kernel, stride, pad, ceil)
        self._size = (0, 0)
        self._output = (0, 0)
        self._direct = True  # PyTorch's operator gives Caffe's result; else pad by hand first
        self._indices: Tensor | None = None

    @property
    def geometry(self) -> PoolingGeometry:
        """The windows on images of the size that `reshape` last saw."""
        return self._geometry

    def _rounds_up(self) -> bool:
        """From `round_mode`, or from `ceil_mode` of a fork that came before it."""
        param = self.layer_param.pooling_param
        ceil = bool(param.round_mode == caffe_pb2.PoolingParameter.CEIL)
        if not param.HasField("ceil_mode"):
            return ceil
        if param.HasField("round_mode") and ceil != param.ceil_mode:
            raise PrototxtError(
                f"layer '{self.name}': round_mode {'CEIL' if ceil else 'FLOOR'} contradicts "
                f"ceil_mode {str(param.ceil_mode).lower()}; keep round_mode alone"
            )
        return bool(param.ceil_mode)

    def _pair(self, what: str) -> tuple[int, int] | None:
        """Reads `kernel_size`, or `kernel_h` and `kernel_w`; likewise stride and pad."""
        param = self.layer_param.pooling_param
        common = "kernel_size" if what == "kernel" else what
        if param.HasField(f"{what}_h") or param.HasField(f"{what}_w"):
            if param.HasField(common):
                raise PrototxtError(
                    f"layer '{self.name}': give {common}, or {what}_h and {what}_w, not both"
                )
            return getattr(param, f"{what}_h"), getattr(param, f"{what}_w")
        if param.HasField(common):
            value = getattr(param, common)
            return value, value
        return None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if len(dims) != 4:
            raise ShapeError(
                f"layer '{self.name}': pooling needs a bottom of 4 axes (N, C, H, W), this one has "
                f"shape {dims}"
            )
        if dims[2:] != self._size:  # reshape runs before every pass: the geometry only if needed
            self._size = dims[2], dims[3]
            if self._global:
                self._given = PoolingGeometry(self._size, (1, 1), (0, 0), self._given.ceil)
            self._output = self._given.output(self._size)
            if min(self._output) < 1 or min(self._size) < 1:
                raise ShapeError(
                    f"layer '{self.name}': a bottom of shape {dims} is too small for {self._given}"
                )
            self._geometry = self._given.fitted(self._size)
            self._direct = self._geometry.torch_agrees(self._size)
        for blob in top:
            blob.reshape(dims[0], dims[1], *self._output)

    def _ordered(self, blob: Blob) -> Tensor:
        if device.use_channels_last(4):
            return blob.data_in(torch.channels_last)
        return blob.data_tensor

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = self._ordered(bottom[0])
        self._indices = None
        if top[0] is not bottom[0]:
            top[0].drop_data()  # see Convolution
        if self._random:
            top[0].set_data(self._random.forward(x, self._geometry))
            return
        if not self._is_max:
            top[0].set_data(average(x, self._geometry))
            return
        values, self._indices = self._maximum(x)
        top[0].set_data(values)
        if len(top) > 1:
            top[1].set_data(self._plane_positions(self._indices).to(torch.float32))

    def _maximum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maxima and the positions of their pixels in the (padded) plane, (N, C, H', W') each."""
        w = self._geometry
        if self._direct:
            # PyTorch pads with -inf, which no window of a direct geometry consists of alone.
            pair = _aten.max_pool2d_with_indices(x, w.kernel, w.stride, w.pad, [1, 1], w.ceil)
        else:
            # Not -inf: Caffe starts each maximum at -FLT_MAX, which an empty window then outputs.
            padded = _aten.constant_pad_nd(x, w.margins(self._size), -_FLT_MAX)
            pair = _aten.max_pool2d_with_indices(padded, w.kernel, w.stride)
        return pair[0], pair[1]

    def _plane_positions(self, indices: Tensor) -> Tensor:
        """Positions in the unpadded plane."""
        if self._direct:
            return indices
        # The positions count in planes that were padded by hand: take the margins off again.
        left, right, top, _ = self._geometry.margins(self._size)
        width = self._size[1] + left + right
        rows, columns = indices // width - top, indices % width - left
        inside = (rows >= 0) & (rows < self._size[0]) & (columns >= 0) & (columns < self._size[1])
        return torch.where(inside, rows * self._size[1] + columns, -1)  # an empty window: -1

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Sends each gradient to its window's winner, or over the window."""
        if not propagate_down[0]:
            return
        x = self._ordered(bottom[0])
        if device.use_channels_last(4):
            gradient = top[0].diff_in(torch.channels_last)
        else:
            gradient = top[0].diff_tensor
        if top[0] is not bottom[0]:
            bottom[0].drop_diff()
        w = self._geometry
        if self._random:
            bottom[0].set_diff(self._random.backward(gradient, x, w))
            return
        if not self._is_max:
            bottom[0].set_diff(average_backward(gradient, x, w))
            return
        if self._indices is None or self._indices.shape != gradient.shape:
            _, self._indices = self._maximum(x)  # reshaped since the last forward pass
        if self._direct:
            result = _aten.max_pool2d_with_indices_backward(
                gradient, x, w.kernel, w.stride, w.pad, [1, 1], w.ceil, self._indices
            )
        else:
            margins = w.margins(self._size)
            padded = _aten.constant_pad_nd(x, margins, -_FLT_MAX)
            result = _aten.max_pool2d_with_indices_backward(
                gradient, padded, w.kernel, w.stride, [0, 0], [1, 1], False, self._indices
            )
            result = crop(result, margins, self._size)
        bottom[0].set_diff(result)
