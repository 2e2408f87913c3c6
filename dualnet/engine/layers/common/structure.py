"""Layers that only rearrange data: Split, Concat, Flatten, Silence (Caffe `L/`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["Concat", "Flatten", "Silence", "Split"]


@register("Split")
class Split(Layer):
    """One bottom for several readers: the tops share its memory, the gradients add up."""

    bottoms = 1
    tops = (1, None)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        for blob in top:
            blob.reshape_like(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Shares the bottom's memory."""
        for blob in top:
            blob.share_data(bottom[0])

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Adds the tops' gradients."""
        if not propagate_down[0]:
            return
        if len(top) == 1:
            bottom[0].set_diff(top[0].diff_tensor.clone())
            return
        total = top[0].diff_tensor + top[1].diff_tensor
        for blob in top[2:]:
            total += blob.diff_tensor
        bottom[0].set_diff(total)


@register("Concat")
class Concat(Layer):
    """Joins bottoms along `axis` (`concat_dim` in older files)."""

    bottoms = (1, None)
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.concat_param
        if param.HasField("axis") and param.HasField("concat_dim"):
            raise PrototxtError(
                f"layer '{self.name}': concat_param has axis and concat_dim; use axis alone"
            )
        self._axis: int = param.concat_dim if param.HasField("concat_dim") else param.axis

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that the shapes agree but for the axis."""
        self._dim = self.axis(self._axis, bottom[0])
        first = list(bottom[0].dims)
        total = 0
        for blob in bottom:
            dims = list(blob.dims)
            if len(dims) != len(first) or any(
                a != b for i, (a, b) in enumerate(zip(dims, first)) if i != self._dim
            ):
                raise ShapeError(
                    f"layer '{self.name}': all inputs must have the same shape, except at axis "
                    f"{self._dim}: they have {tuple(first)} and {tuple(dims)}"
                )
            total += dims[self._dim]
        first[self._dim] = total
        top[0].reshape(*first)
        if len(bottom) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(bottom) > 1:
            top[0].set_data(torch.cat([blob.data_tensor for blob in bottom], self._dim))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Cuts the gradient into the bottoms' parts."""
        if len(bottom) == 1:
            return
        gradient, first = top[0].diff_tensor, 0
        for blob, wanted in zip(bottom, propagate_down):
            size = blob.dims[self._dim]
            if wanted:
                part = gradient.narrow(self._dim, first, size)
                # A copy: a published tensor must not be memory of another blob.
                blob.set_diff(part.clone(memory_format=torch.preserve_format))
            first += size


@register("Flatten")
class Flatten(Layer):
    """Makes one axis of `axis` to `end_axis`; shares the bottom's memory."""

    bottoms = 1
    tops = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.flatten_param
        first = self.axis(param.axis, bottom[0])
        last = self.axis(param.end_axis, bottom[0])
        dims = bottom[0].dims
        flat = math.prod(dims[first : last + 1])
        top[0].reshape(*dims[:first], flat, *dims[last + 1 :])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Shares the bottom's memory."""
        top[0].share_data(bottom[0])

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Makes the top's gradient the bottom's: the bottom blob changes its memory.

        So it is in Caffe. A layer before this one that shares its gradient's memory for good
        (Reshape, Slice, Parameter) must therefore take it from its top again.
        """
        bottom[0].share_diff(top[0])


@register("Silence")
class Silence(Layer):
    """Takes blobs so that they are no outputs; their gradient is zero."""

    bottoms = (1, None)
    tops = 0

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """There are no tops."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to compute."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.clear_diff()
