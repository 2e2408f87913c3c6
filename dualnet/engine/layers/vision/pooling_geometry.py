"""The windows of pooling, and averages over them (Caffe `L/pooling_layer.cpp`).

Caffe's sizes differ from PyTorch's in two cases: with padding above half the kernel, which PyTorch
refuses, and without padding where the stride exceeds the kernel, where Caffe keeps a last window
that starts at or beyond the edge. Both take the general path: pad by hand, then pool without.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "PoolingGeometry",
    "average",
    "average_backward",
    "crop",
    "window_sums",
    "window_sums_backward",
]

_aten = torch.ops.aten


@dataclass(frozen=True)
class PoolingGeometry:
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
            # Caffe drops a last window that starts beyond image and padding, but looks for it only
            # where either axis is padded. This quirk is why the general path exists.
            if any(self.pad) and (count - 1) * s >= n + p:
                count -= 1
            pooled.append(count)
        return pooled[0], pooled[1]

    def fitted(self, size: tuple[int, int]) -> PoolingGeometry:
        """Kernel and stride clamped to the padded image.

        The result is the same, but padding by hand no longer takes memory in proportion to a huge
        kernel or stride.
        """
        spans = [n + 2 * p for n, p in zip(size, self.pad)]
        kernel, stride = (
            tuple(min(given, max(span, 1)) for given, span in zip(pair, spans))
            for pair in (self.kernel, self.stride)
        )
        return PoolingGeometry((kernel[0], kernel[1]), (stride[0], stride[1]), self.pad, self.ceil)

    def torch_agrees(self, size: tuple[int, int]) -> bool:
        """Whether PyTorch's operators give Caffe's result for this image size.

        They do unless the padding exceeds half the kernel, the kernel exceeds the padded image, or
        a last window starts beyond image and padding.
        """
        return all(
            2 * p <= k and (n + 2 * p - k) >= 0 and (s <= k or (count - 1) * s < n + p)
            for n, k, s, p, count in zip(
                size, self.kernel, self.stride, self.pad, self.output(size)
            )
        )

    def margins(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) padding after which every window lies inside.

        Right and bottom are negative where the stride leaves a border that no window reaches: the
        padding then crops it.
        """
        ends = []
        for n, k, s, p, count in zip(size, self.kernel, self.stride, self.pad, self.output(size)):
            ends.append((count - 1) * s + k - p - n)
        return self.pad[1], ends[1], self.pad[0], ends[0]

    def divisors(self, size: tuple[int, int], where: torch.device) -> Tensor:
        """(H', W') window areas: clipped to image and padding, so the overhang does not count."""
        lengths = []
        for n, k, s, p, count in zip(size, self.kernel, self.stride, self.pad, self.output(size)):
            start = torch.arange(count, device=where) * s - p
            lengths.append((start + k).clamp(max=n + p) - start)
        return (lengths[0][:, None] * lengths[1][None, :]).to(torch.float32)


def crop(padded: Tensor, margins: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Removes the padding from a gradient (N, C, H + …, W + …); a cropped border gets zero."""
    return _aten.constant_pad_nd(padded, [-m for m in margins], 0.0).reshape(
        *padded.shape[:2], *size
    )


def window_sums(x: Tensor, geometry: PoolingGeometry) -> Tensor:
    """Sums over windows, zeros beyond the edges.

    Args:
        x: (N, C, H, W).
        geometry: that of the windows.

    Returns:
        (N, C, H', W').
    """
    padded = _aten.constant_pad_nd(x, geometry.margins((x.shape[2], x.shape[3])), 0.0)
    # The last argument, divisor_override 1, makes sums of the averages.
    return _aten.avg_pool2d(padded, geometry.kernel, geometry.stride, [0, 0], False, True, 1)


def window_sums_backward(gradient: Tensor, x: Tensor, geometry: PoolingGeometry) -> Tensor:
    """The gradient of `window_sums`: for each pixel the sum over the windows that hold it.

    Args:
        gradient: (N, C, H', W').
        x: (N, C, H, W), the input; only its shape and order matter.
        geometry: that of the windows.

    Returns:
        (N, C, H, W).
    """
    size = x.shape[2], x.shape[3]
    margins = geometry.margins(size)
    padded = _aten.constant_pad_nd(x, margins, 0.0)
    result = _aten.avg_pool2d_backward(
        gradient, padded, geometry.kernel, geometry.stride, [0, 0], False, True, 1
    )
    return crop(result, margins, size)


def average(x: Tensor, geometry: PoolingGeometry) -> Tensor:
    """Average pooling; arguments and result as in `window_sums`."""
    size = x.shape[2], x.shape[3]
    if geometry.torch_agrees(size):
        # count_include_pad: like Caffe, zeros of the padding count, and the overhang does not.
        return _aten.avg_pool2d(
            x, geometry.kernel, geometry.stride, geometry.pad, geometry.ceil, True
        )
    return window_sums(x, geometry) / geometry.divisors(size, x.device)


def average_backward(gradient: Tensor, x: Tensor, geometry: PoolingGeometry) -> Tensor:
    """The gradient of `average`; arguments and result as in `window_sums_backward`."""
    size = x.shape[2], x.shape[3]
    if geometry.torch_agrees(size):
        return _aten.avg_pool2d_backward(
            gradient, x, geometry.kernel, geometry.stride, geometry.pad, geometry.ceil, True, None
        )
    return window_sums_backward(gradient / geometry.divisors(size, x.device), x, geometry)
