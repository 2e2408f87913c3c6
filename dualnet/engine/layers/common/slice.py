"""Slice and Crop: parts of a blob (Caffe `L/slice_layer.cpp`, `crop_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Crop", "Slice"]


@register("Slice")
class Slice(Layer):
    """Cuts one axis (`slice_dim` in older files) into one part a top.

    Without `slice_point` the parts are equal; one top alone shares the bottom's memory.
    """

    bottoms = 1
    tops = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if len(top) > 1:
            refuse_in_place(self, bottom, top)
        param = self.layer_param.slice_param
        if param.HasField("axis") and param.HasField("slice_dim"):
            raise PrototxtError(
                f"layer '{self.name}' (Slice): slice_param has axis {param.axis} and slice_dim "
                f"{param.slice_dim}; use axis alone"
            )
        self._axis: int = param.slice_dim if param.HasField("slice_dim") else param.axis
        self._points: list[int] = list(param.slice_point)
        if self._points and len(self._points) != len(top) - 1:
            raise PrototxtError(
                f"layer '{self.name}' (Slice): {len(top)} tops need {len(top) - 1} slice_point, "
                f"there are {len(self._points)}"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        self._dim = axis = self.axis(self._axis, bottom[0])
        if self._points:
            ends = [0, *self._points, dims[axis]]
            self._sizes = [b - a for a, b in zip(ends, ends[1:])]
            if min(self._sizes[:-1]) < 1 or self._sizes[-1] < 0 or len(top) > dims[axis]:
                raise ShapeError(
                    f"layer '{self.name}' (Slice): slice_point {self._points} must rise from above "
                    f"0 to at most {dims[axis]}, the size of axis {axis} of the bottom {dims}"
                )
        else:
            if dims[axis] % len(top):
                raise ShapeError(
                    f"layer '{self.name}' (Slice): number of top blobs ({len(top)}) should evenly "
                    f"divide the size {dims[axis]} of axis {axis} of the bottom {dims}; change it "
                    "or give slice_point"
                )
            self._sizes = [dims[axis] // len(top)] * len(top)
        for blob, size in zip(top, self._sizes):
            blob.reshape(*dims[:axis], size, *dims[axis + 1 :])
        if len(top) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(top) > 1:
            parts = bottom[0].data_tensor.split(self._sizes, self._dim)
            for blob, part in zip(top, parts):
                blob.set_data(part.clone())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if len(top) == 1:
            # A Flatten after this layer may have given the top another gradient: use that.
            bottom[0].share_diff(top[0])
        elif propagate_down[0]:
            bottom[0].set_diff(torch.cat([blob.diff_tensor for blob in top], self._dim))


@register("Crop")
class Crop(Layer):
    """The part of bottom 0 that has the size of bottom 1 from `axis` on.

    `offset` says where it begins: nothing is 0, one number holds for all axes cropped, several are
    one an axis. Bottom 1 lends its shape alone and gets no gradient.
    """

    bottoms = 2
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.crop_param
        self._axis: int = param.axis
        self._offsets: list[int] = list(param.offset)
        cropped = len(bottom[0].dims) - self.axis(self._axis, bottom[0])
        if len(self._offsets) > 1 and len(self._offsets) != cropped:
            raise PrototxtError(
                f"layer '{self.name}' (Crop): {len(self._offsets)} offsets for {cropped} axes, "
                f"axis {self._axis} to the last of shape {bottom[0].dims}; give one or {cropped}"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that the part lies inside."""
        source, wanted = bottom[0].dims, bottom[1].dims
        start = self.axis(self._axis, bottom[0])
        cropped = len(source) - start
        offsets = self._offsets if len(self._offsets) > 1 else (self._offsets or [0]) * cropped
        if len(wanted) < len(source) or any(
            offset + size > available
            for offset, size, available in zip(offsets, wanted[start:], source[start:])
        ):
            raise ShapeError(
                f"layer '{self.name}' (Crop): a part of shape {wanted} at offset {offsets} from "
                f"axis {start} on does not lie in bottom 0 of shape {source}; reduce the offset or "
                "bottom 1"
            )
        shape = (*source[:start], *wanted[start : len(source)])
        parts = [slice(o, o + n) for o, n in zip(offsets, shape[start:])]
        self._window = (slice(None),) * start + tuple(parts)
        top[0].reshape(*shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(bottom[0].data_tensor[self._window].clone())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Puts the gradient in its place, zeros around it."""
        if propagate_down[0]:
            result = torch.zeros_like(bottom[0].data_tensor)
            result[self._window] = top[0].diff_tensor
            bottom[0].set_diff(result)
