"""Interp: bilinear resize (DeepLab, PSPNet)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Interp"]

_aten = torch.ops.aten


@register("Interp")
class Interp(Layer):
    """Resizes images so that their corners keep their values.

    Bottom: (N, C, H, W). Top: (N, C, H', W'), from height and width, or from the bottom's size n:
    (n - 1) * zoom_factor + 1, (n - 1) / shrink_factor + 1, or both, shrinking first. pad_beg and
    pad_end of 0 or below leave out rows and columns at the beginning and the end.
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.interp_param
        if param.pad_beg > 0 or param.pad_end > 0:
            raise PrototxtError(
                f"layer '{self.name}': interp_param has pad_beg {param.pad_beg} and pad_end "
                f"{param.pad_end}; they must be 0 or below, which crops"
            )
        self._cut = -param.pad_beg, -param.pad_end
        factors = param.HasField("zoom_factor"), param.HasField("shrink_factor")
        sized = param.HasField("height") and param.HasField("width")
        if not any(factors) and not sized:
            raise PrototxtError(
                f"layer '{self.name}': interp_param needs height and width, zoom_factor or "
                "shrink_factor"
            )
        # With one factor the size is ignored, with both the size is preferred.
        self._size = (param.height, param.width) if sized and factors[0] == factors[1] else None
        self._zoom, self._shrink = param.zoom_factor, param.shrink_factor
        if min(self._size or (self._zoom, self._shrink)) < 1:
            raise PrototxtError(
                f"layer '{self.name}': interp_param has height {param.height}, width "
                f"{param.width}, zoom_factor {self._zoom}, shrink_factor {self._shrink}; what is "
                "given must be above 0"
            )

    def _resized(self, size: int) -> int:
        shrunk = (size - 1) // self._shrink + 1
        return (shrunk - 1) * self._zoom + 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        inner = [size - sum(self._cut) for size in dims[2:]]
        if len(dims) != 4 or min(inner) < 1:
            raise ShapeError(
                f"layer '{self.name}' (Interp): a bottom of shape {dims} must have 4 axes (N, C, H,"
                f" W) and more rows and columns than the {sum(self._cut)} that pad leaves out"
            )
        height, width = self._size or (self._resized(inner[0]), self._resized(inner[1]))
        self._window = tuple(slice(self._cut[0], size - self._cut[1]) for size in dims[2:])
        self._inner, self._outer = inner, [height, width]
        top[0].reshape(*dims[:2], height, width)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        rows, columns = self._window
        x = bottom[0].data_tensor[:, :, rows, columns]
        if self._inner == self._outer:
            top[0].set_data(x.clone())
        else:
            top[0].set_data(_aten.upsample_bilinear2d(x, self._outer, True))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Gives each pixel the gradients of those that it was mixed into, by its shares."""
        if not propagate_down[0]:
            return
        gradient, dims = top[0].diff_tensor, bottom[0].dims
        if self._inner != self._outer:
            size = [*dims[:2], *self._inner]
            gradient = _aten.upsample_bilinear2d_backward(gradient, self._outer, size, True)
        result = torch.zeros(dims, device=gradient.device)
        rows, columns = self._window
        result[:, :, rows, columns] = gradient
        bottom[0].set_diff(result)
