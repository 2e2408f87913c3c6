"""ShuffleChannel: mixes the channels of groups (ShuffleNet)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register

__all__ = ["ShuffleChannel"]


@register("ShuffleChannel")
class ShuffleChannel(NeuronLayer):
    """Channel j of group i becomes channel i of group j. Bottom and top: (N, C, …)."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._group: int = self.layer_param.shuffle_channel_param.group
        if not self._group:
            raise PrototxtError(
                f"layer '{self.name}': shuffle_channel_param has group 0; it must be above 0"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that the groups are equal."""
        dims = bottom[0].dims
        if len(dims) < 2 or dims[1] % self._group:
            raise ShapeError(
                f"layer '{self.name}' (ShuffleChannel): the channels of a bottom of shape {dims} "
                f"must be a multiple of group {self._group}"
            )
        top[0].reshape_like(bottom[0])

    def _swapped(self, values: Tensor, groups: int) -> Tensor:
        channels = values.shape[1]
        parted = values.reshape(values.shape[0], groups, channels // groups, -1)
        return parted.transpose(1, 2).clone(memory_format=torch.contiguous_format)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].set_data(self._swapped(bottom[0].data_tensor, self._group))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            gradient = top[0].diff_tensor
            bottom[0].set_diff(self._swapped(gradient, gradient.shape[1] // self._group))
