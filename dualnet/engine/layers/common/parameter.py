"""Parameter: learned values as a blob (Caffe `include/caffe/layers/parameter_layer.hpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["Parameter"]


@register("Parameter")
class Parameter(Layer):
    """A blob that learns. The top is the parameter: both share values and gradient.

    Sharing the gradient means that a backward pass overwrites it, where other layers add up; so a
    solver with `iter_size` above 1 sees that of the last pass, in Caffe too. Values start at 0.
    """

    bottoms = 0
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.add_param(list(self.layer_param.parameter_param.shape.dim))

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape_like(self.blobs[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Shares the memory, again each time: the parameter may meanwhile share another's."""
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Copies the top's gradient, which a following Flatten may have given memory of its own.

        Caffe loses the gradient in that case.
        """
        self.blobs[0].set_diff(top[0].diff_tensor.clone())
