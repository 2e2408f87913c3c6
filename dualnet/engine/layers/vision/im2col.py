"""Im2col: the patches that a convolution sees (Caffe `L/im2col_layer.cpp`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register
from dualnet.engine.layers.vision.convolution import Convolution

__all__ = ["Im2col"]


@register("Im2col")
class Im2col(Convolution):
    """Puts every window of `convolution_param` in a column; no parameters.

    Bottom: (…, C, spatial axes), channels on `axis`. Top: (…, C kh kw, H', W'), whose channels run
    over channel, kernel row, kernel column; likewise for other numbers of spatial axes.
    """

    bottoms = 1  # type: ignore[assignment]  # (a convolution takes any number)
    tops = 1  # type: ignore[assignment]

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.convolution_param
        self._axis = self.axis(param.axis, bottom[0])
        spatial = bottom[0].ndim - self._axis - 1
        if spatial < 1:
            raise ShapeError(
                f"layer '{self.name}' (Im2col): a bottom of shape {bottom[0].dims} has no axis "
                f"after the channels' axis {param.axis}"
            )
        self._kernel = self._sizes("kernel", spatial, None)
        self._stride = self._sizes("stride", spatial, 1)
        self._pad = self._sizes("pad", spatial, 0)
        self._dilation = self._expand("dilation", list(param.dilation), spatial, 1)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if len(dims) != self._axis + 1 + len(self._kernel):
            raise ShapeError(
                f"layer '{self.name}' (Im2col): the net was built for {len(self._kernel)} spatial "
                f"axes after axis {self._axis}, the bottom has now shape {dims}"
            )
        self._output = [self._output_size(n, i) for i, n in enumerate(dims[self._axis + 1 :])]
        if min(self._output) < 1:
            raise ShapeError(
                f"layer '{self.name}' (Im2col): a bottom of shape {dims} is too small for kernel "
                f"{self._kernel}, pad {self._pad}, stride {self._stride}, dilation "
                f"{self._dilation}: the top would be {self._output}"
            )
        self._channels = dims[self._axis]
        columns = self._channels * math.prod(self._kernel)
        top[0].reshape(*dims[: self._axis], columns, *self._output)

    def _windows(self) -> Iterator[tuple[slice, ...]]:
        """For each place in the kernel, the slice of the padded image that it has in all windows.

        One copy of a slice for each place, instead of one for each window: there are few places.
        """
        for place in itertools.product(*(range(k) for k in self._kernel)):
            inner = (
                slice(p * d, p * d + (count - 1) * s + 1, s)
                for p, d, s, count in zip(place, self._dilation, self._stride, self._output)
            )
            yield (slice(None), slice(None), *inner)

    def _margins(self) -> list[int]:
        return [p for p in reversed(self._pad) for _ in range(2)]

    def _padded(self, bottom: Blobs) -> Tensor:
        flat = bottom[0].data_tensor.reshape(-1, *bottom[0].dims[self._axis :])
        return torch.constant_pad_nd(flat, self._margins(), 0.0)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        padded = self._padded(bottom)
        columns = [padded[window] for window in self._windows()]
        top[0].set_data(torch.stack(columns, dim=2))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Adds the gradients of all windows that a value was in."""
        if not propagate_down[0]:
            return
        gradient = top[0].diff_tensor.reshape(
            -1, self._channels, math.prod(self._kernel), *self._output
        )
        result = torch.zeros_like(self._padded(bottom))
        for index, window in enumerate(self._windows()):
            result[window] += gradient[:, :, index]
        inner = torch.constant_pad_nd(result, [-m for m in self._margins()], 0.0)
        bottom[0].set_diff(inner.reshape(bottom[0].dims))
