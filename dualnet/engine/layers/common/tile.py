"""Tile: copies side by side (Caffe `L/tile_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Tile"]


@register("Tile")
class Tile(Layer):
    """Repeats the bottom `tiles` times along `axis`; the gradients of the copies add up."""

    bottoms = 1
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.tile_param
        if param.tiles < 1:
            given = param.tiles if param.HasField("tiles") else "not given"
            raise PrototxtError(
                f"layer '{self.name}' (Tile): tile_param needs tiles above 0, it is {given}"
            )
        if param.tiles > 1:
            refuse_in_place(self, bottom, top)
        self._tiles, self._given = param.tiles, param.axis

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._dim = self.axis(self._given, bottom[0])
        dims = bottom[0].dims
        shape = (*dims[: self._dim], dims[self._dim] * self._tiles, *dims[self._dim + 1 :])
        top[0].reshape(*shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        counts = [1] * bottom[0].ndim
        counts[self._dim] = self._tiles
        top[0].set_data(bottom[0].data_tensor.repeat(counts))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            dims = bottom[0].dims
            shape = (*dims[: self._dim], self._tiles, *dims[self._dim :])
            bottom[0].set_diff(top[0].diff_tensor.reshape(shape).sum(dim=self._dim))
