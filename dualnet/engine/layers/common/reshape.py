"""Reshape: other dimensions for the same values (Caffe `L/reshape_layer.cpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Reshape"]


@register("Reshape")
class Reshape(Layer):
    """Replaces the axes `axis` to `axis + num_axes - 1` by `shape`; shares the bottom's memory.

    In `shape`, 0 copies the bottom's dimension at that place and -1, at most once, takes what is
    left. A negative `axis` counts from the end, -1 meaning after the last axis; `num_axes` -1 means
    all that follow, 0 inserts axes.
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.reshape_param
        refuse_in_place(self, bottom, top)
        self._dims = list(param.shape.dim)
        if self._dims.count(-1) > 1 or any(d < -1 for d in self._dims):
            raise PrototxtError(
                f"layer '{self.name}' (Reshape): shape {self._dims} may have one -1, 0 for "
                "dimensions to copy, and numbers above 0"
            )
        self._axis, self._num_axes = param.axis, param.num_axes
        if self._num_axes < -1:
            raise PrototxtError(
                f"layer '{self.name}' (Reshape): num_axes must be 0 or more, or -1 for all that "
                f"follow, it is {self._num_axes}"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        start = self._axis if self._axis >= 0 else len(dims) + self._axis + 1
        end = len(dims) if self._num_axes == -1 else start + self._num_axes
        if not 0 <= start <= end <= len(dims):
            raise ShapeError(
                f"layer '{self.name}' (Reshape): axis {self._axis} with num_axes "
                f"{self._num_axes} is out of range for a bottom of shape {dims}"
            )
        middle = list(self._dims)
        for place, size in enumerate(middle):
            if size == 0:
                if start + place >= len(dims):
                    raise ShapeError(
                        f"layer '{self.name}' (Reshape): dimension {place} of shape {self._dims} "
                        f"is 0, but a bottom of shape {dims} has no axis {start + place} to copy"
                    )
                middle[place] = dims[start + place]
        if -1 in middle:
            known = math.prod(d for d in (*dims[:start], *middle, *dims[end:]) if d != -1)
            if not known or bottom[0].count % known:
                raise ShapeError(
                    f"layer '{self.name}' (Reshape): a bottom of shape {dims} has "
                    f"{bottom[0].count} values, not a multiple of the {known} that shape "
                    f"{self._dims} asks for"
                )
            middle[middle.index(-1)] = bottom[0].count // known
        shape = (*dims[:start], *middle, *dims[end:])
        if math.prod(shape) != bottom[0].count:
            raise ShapeError(
                f"layer '{self.name}' (Reshape): output count must match input count: the top's "
                f"shape {shape} has {math.prod(shape)} values, the bottom's {dims} has "
                f"{bottom[0].count}"
            )
        top[0].reshape(*shape)
        # Here and not in forward, as in Caffe: the top is readable before the first pass.
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """The memory is the bottom's."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """The memory is the bottom's, unless a Flatten after this layer gave the top another.

        Caffe loses the gradient in that case.
        """
        bottom[0].share_diff(top[0])
