"""Upsample: by a Pooling layer's mask (SegNet), or by repetition (MobileNet-YOLO)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Upsample"]


@register("Upsample")
class Upsample(Layer):
    """Enlarges images.

    With two bottoms, values (N, C, H, W) and the mask that a Pooling layer gave as its second top,
    each value goes where its maximum was and the rest is 0; of several for one place the last one
    wins. The size is upsample_h and upsample_w, or the bottom's times scale, less 1 with pad_out.
    The mask gets no gradient. With one bottom each pixel is repeated scale times both ways.
    """

    bottoms = (1, 2)
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.upsample_param
        self._size: tuple[int, int] | None = None
        if param.HasField("upsample_h") and param.HasField("upsample_w"):
            self._size = (param.upsample_h, param.upsample_w)
        if param.HasField("scale_h") != param.HasField("scale_w"):
            self._refuse("needs scale_h and scale_w, or neither")
        if param.HasField("scale_h"):
            if param.HasField("scale") and not self._size:
                self._refuse("has scale, scale_h and scale_w; give one kind")
            self._scale = (param.scale_h, param.scale_w)
        elif len(bottom) == 1 and not param.HasField("scale"):
            self._scale = (1, 1)  # the default of the fork that repeats
        else:
            self._scale = (param.scale, param.scale)
        self._less = (int(param.pad_out_h), int(param.pad_out_w))
        least = 2 if len(bottom) == 2 else 1
        if min(self._size or self._scale) < least:
            self._refuse(f"has size {self._size or self._scale}; it must be at least {least}")
        if self._size is None and any(p and s != 2 for p, s in zip(self._less, self._scale)):
            self._refuse(f"has pad_out, which needs scale 2; it is {self._scale}")
        if len(bottom) == 1 and (self._size or any(self._less)):
            self._refuse("has upsample_h or pad_out, which need a mask as second bottom")
        self._places: Tensor | None = None

    def _refuse(self, reason: str) -> None:
        raise PrototxtError(f"layer '{self.name}': upsample_param {reason}")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The mask gets no gradient."""
        return bottom_index != 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if len(dims) != 4:
            raise ShapeError(
                f"layer '{self.name}' (Upsample): bottom 0 must have 4 axes (N, C, H, W), it has "
                f"shape {dims}"
            )
        if len(bottom) == 2:
            self.check_same_shape(bottom[0], bottom[1], "values and mask")
        size = self._size or tuple(
            n * scale - less for n, scale, less in zip(dims[2:], self._scale, self._less)
        )
        top[0].reshape(*dims[:2], *size)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data_tensor
        if len(bottom) == 1:
            rows, columns = self._scale
            top[0].set_data(x.repeat_interleave(rows, 2).repeat_interleave(columns, 3))
            return
        area = math.prod(top[0].dims[2:])
        places = bottom[1].data_tensor.to(torch.int64).flatten(2)
        # Not on a GPU, where reading the values would wait for all work before it.
        if places.device.type == "cpu" and places.numel():
            low, high = int(places.min()), int(places.max())
            if low < 0 or high >= area:
                raise DataError(
                    f"layer '{self.name}' (Upsample): the mask ranges from {low} to {high}, the "
                    f"top of shape {top[0].dims} has places 0 to {area - 1}; give the size of the "
                    "pooled image as upsample_h and upsample_w"
                )
        self._places = places
        # The last of several writers, found by number, because scatter may take any of them.
        number = torch.arange(places.shape[2], device=x.device).expand_as(places)
        last = torch.full((*x.shape[:2], area), -1, device=x.device)
        last = last.scatter_reduce(2, places, number, "amax")
        result = x.flatten(2).gather(2, last.clamp_min(0)) * (last >= 0)
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Fetches each value's gradient from its place, or adds those of its copies."""
        if len(bottom) == 2 and propagate_down[1]:
            bottom[1].clear_diff()
        if not propagate_down[0]:
            return
        gradient, dims = top[0].diff_tensor, bottom[0].dims
        if len(bottom) == 1:
            rows, columns = self._scale
            copies = gradient.reshape(*dims[:3], rows, dims[3], columns)
            bottom[0].set_diff(copies.sum((3, 5)))
        elif self._places is not None:
            bottom[0].set_diff(gradient.flatten(2).gather(2, self._places))
