"""Permute: the axes in another order (SSD)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Permute"]


@register("Permute")
class Permute(Layer):
    """Axis i of the top is axis order[i] of the bottom; axes not named follow in their order.

    Bottom: any shape. Where the order changes nothing, the top shares the bottom's memory.
    """

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        self._given: list[int] = list(self.layer_param.permute_param.order)
        if len(set(self._given)) < len(self._given):
            raise PrototxtError(
                f"layer '{self.name}' (Permute): order {self._given} names an axis twice"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if max(self._given, default=-1) >= len(dims):
            raise PrototxtError(
                f"layer '{self.name}' (Permute): order {self._given} names axis "
                f"{max(self._given)}, a bottom of shape {dims} has axes 0 to {len(dims) - 1}"
            )
        rest = [axis for axis in range(len(dims)) if axis not in self._given]
        self._order = [*self._given, *rest]
        self._back = sorted(range(len(dims)), key=self._order.__getitem__)
        self._is_same = self._order == self._back == list(range(len(dims)))
        top[0].reshape(*(dims[axis] for axis in self._order))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._is_same:
            top[0].share_data(bottom[0])
        else:
            top[0].set_data(_moved(bottom[0].data_tensor, self._order))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if self._is_same:
            bottom[0].share_diff(top[0])
        elif propagate_down[0]:
            bottom[0].set_diff(_moved(top[0].diff_tensor, self._back))


def _moved(values: Tensor, order: list[int]) -> Tensor:
    """A permuted copy in C order."""
    return values.permute(order).clone(memory_format=torch.contiguous_format)
