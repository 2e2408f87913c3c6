"""Normalize: division by the L2 norm, with a learned scale (SSD, ParseNet)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["Normalize"]


@register("Normalize")
class Normalize(NeuronLayer):
    """scale * x / sqrt(sum(x^2) + eps), over an image or over the channels of each pixel.

    Bottom and top: (N, C, …), possibly the same blob. Parameter: the scale, () or (C,).
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Creates the scale, 1 by default."""
        param = self.layer_param.norm_param
        self._check(bottom)
        self._eps: float = param.eps
        self._across: bool = param.across_spatial
        self._shared: bool = param.channel_shared
        one = caffe_pb2.FillerParameter(type="constant", value=1.0)
        self.add_param(
            [] if self._shared else [bottom[0].dims[1]],
            param.scale_filler if param.HasField("scale_filler") else one,
        )
        self._input: Tensor | None = None
        self._inverse: Tensor | None = None

    def _check(self, bottom: Blobs) -> None:
        if len(bottom[0].dims) < 2:
            raise ShapeError(
                f"layer '{self.name}' (Normalize): a bottom of shape {bottom[0].dims} has no "
                "channels; it needs 2 axes or more"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._check(bottom)
        dims = bottom[0].dims
        if not self._shared and self.blobs[0].dims != (dims[1],):
            raise ShapeError(
                f"layer '{self.name}' (Normalize): {dims[1]} channels in {dims}, "
                f"the scale has {self.blobs[0].count}"
            )
        top[0].reshape_like(bottom[0])

    def _axes(self, x: Tensor) -> list[int]:
        return list(range(1, x.dim())) if self._across else [1]

    def _scale(self, x: Tensor) -> Tensor:
        scale = self.blobs[0].data_tensor
        return scale if self._shared else scale.view([1, -1] + [1] * (x.dim() - 2))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Normalises; in place it keeps the input."""
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        self._input = x if in_place else None
        self._inverse = (x.square().sum(self._axes(x), keepdim=True) + self._eps).rsqrt()
        top[0].set_data(x * self._inverse * self._scale(x))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Differentiates through the norm."""
        if self._inverse is None:
            return
        gradient = top[0].diff_tensor
        x = bottom[0].data_tensor if self._input is None else self._input
        normal = x * self._inverse
        if self.wants_param(0):
            product = gradient * normal
            axes = [axis for axis in range(x.dim()) if axis != 1]
            self.blobs[0].add_diff(product.sum() if self._shared else product.sum(axes))
        if propagate_down[0]:
            scaled = gradient * self._scale(x)
            along = (scaled * normal).sum(self._axes(x), keepdim=True)
            bottom[0].set_diff((scaled - normal * along) * self._inverse)
