"""Pooling (Caffe `L/pooling_layer.cpp`).

Caffe's sizes differ from PyTorch's in two cases: with padding above half the kernel, which PyTorch
refuses, and without padding where the stride exceeds the kernel, where Caffe keeps a last window
that starts at or beyond the edge. Both take the general path: pad by hand, then pool without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualnet.engine import device
from dualnet.engine.blob import Blob
from dualnet.engine.errors import PrototxtError, ShapeError, UnsupportedError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["Pooling", "Window", "average", "average_backward"]

_aten = torch.ops.aten
_FLT_MAX = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Window:
    """Geometry of a pooling; pairs are (height, width).

    Attributes:
        kernel: window size.
        stride: step between windows.
        pad: zeros (average) or nothing (maximum) around the image.
        ceil: whether a window that overhangs the edge counts.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    ceil: bool = True

    def output(self, size: tuple[int, int]) -> tuple[int, int]:
        """The pooled size of an image, by Caffe's rule."""
        pooled = []
        for n, k, s, p in zip(size, self.kernel, self.stride, self.pad):
            span = n + 2 * p - k
            count = (-(-span // s) if self.ceil else span // s) + 1
            if any(self.pad) and (count - 1) * s >= n + p:
                count -= 1  # the last window must not start beyond image and padding
            pooled.append(count)
        return pooled[0], pooled[1]

    def fitted(self, size: tuple[int, int]) -> Window:
        """The same pooling without what lies beyond image and padding.

        A kernel may be larger than both where the stride is large too, and a stride may lead to a
        window without a pixel. Neither is worth memory in proportion.
        """
        spans = [n + 2 * p for n, p in zip(size, self.pad)]
        kernel, stride = (
            tuple(min(given, max(span, 1)) for given, span in zip(pair, spans))
            for pair in (self.kernel, self.stride)
        )
        return Window((kernel[0], kernel[1]), (stride[0], stride[1]), self.pad, self.ceil)

    def torch_agrees(self, size: tuple[int, int]) -> bool:
        """Whether PyTorch's operators give Caffe's result for this image size."""
        return all(
            2 * p <= k and (n + 2 * p - k) >= 0 and (s <= k or (count - 1) * s < n + p)
            for n, k, s, p, count in zip(
                size, self.kernel, self.stride, self.pad, self.output(size)
            )
        )

    def margins(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) padding after which every window lies inside."""
        ends = []
        for n, k, s, p, count in zip(size, self.kernel, self.stride, self.pad, self.output(size)):
            ends.append((count - 1) * s + k - p - n)
        return self.pad[1], ends[1], self.pad[0], ends[0]

    def divisors(self, size: tuple[int, int]) -> Tensor:
        """(H', W') window areas: clipped to image and padding, so the overhang does not count."""
        lengths = []
        for n, k, s, p, count in zip(size, self.kernel, self.stride, self.pad, self.output(size)):
            start = torch.arange(count) * s - p
            lengths.append((start + k).clamp(max=n + p) - start)
        return (lengths[0][:, None] * lengths[1][None, :]).to(torch.float32)


def _crop(padded: Tensor, margins: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Undoes padding; a margin below zero had cropped, and its gradient is zero."""
    return _aten.constant_pad_nd(padded, [-m for m in margins], 0.0).reshape(
        *padded.shape[:2], *size
    )


def average(x: Tensor, window: Window) -> Tensor:
    """Average pooling.

    Args:
        x: (N, C, H, W).
        window: the geometry.

    Returns:
        (N, C, H', W').
    """
    size = x.shape[2], x.shape[3]
    if window.torch_agrees(size):
        return _aten.avg_pool2d(x, window.kernel, window.stride, window.pad, window.ceil, True)
    padded = _aten.constant_pad_nd(x, window.margins(size), 0.0)
    sums = _aten.avg_pool2d(padded, window.kernel, window.stride, [0, 0], False, True, 1)
    return sums / window.divisors(size).to(x.device)


def average_backward(gradient: Tensor, x: Tensor, window: Window) -> Tensor:
    """The gradient of `average`.

    Args:
        gradient: (N, C, H', W').
        x: (N, C, H, W), the input; only its shape and order matter.
        window: the geometry.

    Returns:
        (N, C, H, W).
    """
    size = x.shape[2], x.shape[3]
    if window.torch_agrees(size):
        return _aten.avg_pool2d_backward(
            gradient, x, window.kernel, window.stride, window.pad, window.ceil, True, None
        )
    margins = window.margins(size)
    padded = _aten.constant_pad_nd(x, margins, 0.0)
    scaled = gradient / window.divisors(size).to(x.device)
    result = _aten.avg_pool2d_backward(
        scaled, padded, window.kernel, window.stride, [0, 0], False, True, 1
    )
    return _crop(result, margins, size)


@register("Pooling")
class Pooling(Layer):
    """Maximum or average over windows.

    Bottom: (N, C, H, W). Top 0: (N, C, H', W'). Top 1 (MAX only): the winners' positions
    h * W + w in their planes, as float32.
    """

    bottoms = 1
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the method and the geometry."""
        param = self.layer_param.pooling_param
        self._is_max = param.pool == caffe_pb2.PoolingParameter.MAX
        if param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
            raise UnsupportedError(
                f"layer '{self.name}': STOCHASTIC pooling is not implemented; use MAX or AVE"
            )
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
        ceil = param.round_mode == caffe_pb2.PoolingParameter.CEIL
        self._global = param.global_pooling
        self._given = self._window = Window(kernel, stride, pad, ceil)
        self._size = (0, 0)
        self._output = (0, 0)
        self._direct = True
        self._indices: Tensor | None = None

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
        """Computes the pooled size."""
        dims = bottom[0].dims
        if len(dims) != 4:
            raise ShapeError(
                f"layer '{self.name}': pooling needs a bottom of 4 axes (N, C, H, W), this one has "
                f"shape {dims}"
            )
        if dims[2:] != self._size:
            self._size = dims[2], dims[3]
            if self._global:
                self._given = Window(self._size, (1, 1), (0, 0), self._given.ceil)
            self._output = self._given.output(self._size)
            if min(self._output) < 1 or min(self._size) < 1:
                raise ShapeError(
                    f"layer '{self.name}': a bottom of shape {dims} is too small for {self._given}"
                )
            self._window = self._given.fitted(self._size)
            self._direct = self._window.torch_agrees(self._size)
        for blob in top:
            blob.reshape(dims[0], dims[1], *self._output)

    def _ordered(self, blob: Blob) -> Tensor:
        if device.use_channels_last(4):
            return blob.data_in(torch.channels_last)
        return blob.data_tensor

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Pools."""
        x = self._ordered(bottom[0])
        self._indices = None
        if top[0] is not bottom[0]:
            top[0].drop_data()
        if not self._is_max:
            top[0].set_data(average(x, self._window))
            return
        values, self._indices = self._maximum(x)
        top[0].set_data(values)
        if len(top) > 1:
            top[1].set_data(self._plane_positions(self._indices).to(torch.float32))

    def _maximum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        w = self._window
        if self._direct:
            pair = _aten.max_pool2d_with_indices(x, w.kernel, w.stride, w.pad, [1, 1], w.ceil)
        else:
            padded = _aten.constant_pad_nd(x, w.margins(self._size), -_FLT_MAX)
            pair = _aten.max_pool2d_with_indices(padded, w.kernel, w.stride)
        return pair[0], pair[1]

    def _plane_positions(self, indices: Tensor) -> Tensor:
        """Positions in the unpadded plane."""
        if self._direct:
            return indices
        left, right, top, _ = self._window.margins(self._size)
        width = self._size[1] + left + right
        rows, columns = indices // width - top, indices % width - left
        inside = (rows >= 0) & (rows < self._size[0]) & (columns >= 0) & (columns < self._size[1])
        return torch.where(inside, rows * self._size[1] + columns, -1)  # an empty window: -1

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Sends each gradient to its window's winner, or evenly to the window."""
        if not propagate_down[0]:
            return
        x = self._ordered(bottom[0])
        if device.use_channels_last(4):
            gradient = top[0].diff_in(torch.channels_last)
        else:
            gradient = top[0].diff_tensor
        if top[0] is not bottom[0]:
            bottom[0].drop_diff()
        w = self._window
        if not self._is_max:
            bottom[0].set_diff(average_backward(gradient, x, w))
            return
        if self._indices is None or self._indices.shape != gradient.shape:
            _, self._indices = self._maximum(x)
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
            result = _crop(result, margins, self._size)
        bottom[0].set_diff(result)
