"""Axpy: a * x + y with one a a channel (SENet)."""

from __future__ import annotations

from collections.abc import Sequence

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Axpy"]


@register("Axpy")
class Axpy(Layer):
    """a * x + y. Bottoms: a (N, C) or (N, C, 1, 1), x and y (N, C, …). Top: the shape of x."""

    bottoms = 3
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that there is one factor a channel."""
        factor, x = bottom[0].dims, bottom[1].dims
        self.check_same_shape(bottom[1], bottom[2], "bottoms 1 and 2")
        if len(x) < 2 or factor[:2] != x[:2] or any(size != 1 for size in factor[2:]):
            raise ShapeError(
                f"layer '{self.name}' (Axpy): bottom 0 has shape {factor}; for a bottom 1 of shape "
                f"{x} it must be {x[:2]}, or that followed by ones"
            )
        self._view = (*x[:2], *([1] * (len(x) - 2)))
        top[0].reshape_like(bottom[1])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        factor = bottom[0].data_tensor.reshape(self._view)
        top[0].set_data(bottom[2].data_tensor.addcmul(factor, bottom[1].data_tensor))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """da = g x summed over the axes after C; dx = a g; dy = g."""
        gradient = top[0].diff_tensor
        if propagate_down[0]:
            product = gradient * bottom[1].data_tensor
            bottom[0].set_diff(product.flatten(2).sum(2) if product.dim() > 2 else product)
        if propagate_down[1]:
            bottom[1].set_diff(gradient * bottom[0].data_tensor.reshape(self._view))
        if propagate_down[2]:
            bottom[2].set_diff(gradient.clone())
