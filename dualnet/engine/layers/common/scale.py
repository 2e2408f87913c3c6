"""Scale and Bias: a learned or given factor and offset (Caffe `L/scale_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["Bias", "Scale"]


class _Broadcast(Layer):
    """Bottom 0 combined with bottom 1, or with a parameter, that covers some of its axes.

    The axes `axis` to `axis + num_axes - 1` of bottom 0 are covered (num_axes -1: all that
    follow; 0: a scalar); a second bottom's shape decides where there is one. The top may be
    bottom 0 itself.
    """

    bottoms = (1, 2)
    tops = 1

    def _settings(self) -> tuple[int, int]:
        """(axis, num_axes), from the layer's own message."""
        raise NotImplementedError

    def _covered(self, bottom: Blobs) -> list[int]:
        axis, count = self._settings()
        dims = bottom[0].dims
        if count == 0:
            return []
        start = self.axis(axis, bottom[0])
        if count < 0:
            return list(dims[start:])
        if start + count > len(dims):
            raise ShapeError(
                f"layer '{self.name}': the blob's shape extends past bottom 0's when applied "
                f"starting with axis {start}: num_axes {count}, bottom 0 has shape {dims}"
            )
        return list(dims[start : start + count])

    def _prepare(self, bottom: Blobs, top: Blobs) -> None:
        """Finds the shape that makes the second operand broadcast over bottom 0."""
        operand = self._operand(bottom)
        dims = bottom[0].dims
        axis = self._settings()[0]
        start = 0 if not operand.dims else self.axis(axis, bottom[0])
        end = start + len(operand.dims)
        if dims[start:end] != operand.dims:
            raise ShapeError(
                f"layer '{self.name}': a factor or offset of shape {operand.dims} does not match "
                f"axes {start} to {end - 1} of bottom 0, which has shape {dims}"
            )
        # The operand as a view that broadcasts over bottom 0, and the axes that its gradient sums.
        self._view = (1,) * start + operand.dims + (1,) * (len(dims) - end)
        self._summed = [i for i in range(len(dims)) if not start <= i < end]
        if bottom[0] is not top[0]:
            top[0].reshape_like(bottom[0])

    def _operand(self, bottom: Blobs) -> Blob:
        return bottom[1] if len(bottom) > 1 else self.blobs[0]

    def _reduce(self, values: Tensor, shape: Sequence[int]) -> Tensor:
        """Sums over the axes that the operand does not have."""
        if self._summed:
            values = values.sum(dim=self._summed)
        return values.reshape(tuple(shape))

    def _give(self, value: Tensor, bottom: Blobs) -> None:
        """Hands the operand its gradient: a bottom's is set, a parameter's is added."""
        if len(bottom) > 1:
            bottom[1].set_diff(value)
        else:
            self.blobs[0].add_diff(value)

    def _operand_wanted(self, bottom: Blobs, propagate_down: Sequence[bool]) -> bool:
        return bool(propagate_down[1]) if len(bottom) > 1 else self.wants_param(0)


@register("Scale")
class Scale(_Broadcast):
    """x * factor, plus an offset if `bias_term`.

    Parameters: the factor (absent with two bottoms) and the offset.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Creates the factor, 1 by default, and the offset, 0 by default."""
        param = self.layer_param.scale_param
        covered = self._covered(bottom)
        if len(bottom) == 1:
            fill = caffe_pb2.FillerParameter(type="constant", value=1.0)
            self.add_param(covered, param.filler if param.HasField("filler") else fill)
        self._bias: int | None = None
        if param.bias_term:
            self._bias = len(self.blobs)
            shape = bottom[1].dims if len(bottom) > 1 else covered
            self.add_param(shape, param.bias_filler)
        self._input: Tensor | None = None

    def _settings(self) -> tuple[int, int]:
        param = self.layer_param.scale_param
        return param.axis, param.num_axes

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Matches the factor with bottom 0's axes."""
        self._prepare(bottom, top)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Scales; in place it keeps the input for the factor's gradient."""
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        factor = self._operand(bottom).data_tensor.reshape(self._view)
        if self._bias is None:
            result = x * factor
        else:
            offset = self.blobs[self._bias].data_tensor.reshape(self._view)
            result = torch.addcmul(offset, x, factor)
        self._input = x if in_place else None
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Factor: g x; offset: g; each summed over the axes that it lacks. Bottom 0: g factor."""
        gradient = top[0].diff_tensor
        operand = self._operand(bottom)
        if self._bias is not None and self.wants_param(self._bias):
            offset = self.blobs[self._bias]
            # A copy: without axes to sum, the result would be the top's own memory.
            offset.add_diff(self._reduce(gradient.clone(), offset.dims))
        factor = operand.data_tensor.reshape(self._view)
        if self._operand_wanted(bottom, propagate_down):
            x = bottom[0].data_tensor if self._input is None else self._input
            self._give(self._reduce(gradient * x, operand.dims), bottom)
        if propagate_down[0]:  # last: in place, this overwrites the top's diff
            bottom[0].set_diff(gradient * factor)


@register("Bias")
class Bias(_Broadcast):
    """x + offset."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Creates the offset, 0 by default."""
        if len(bottom) == 1:
            self.add_param(self._covered(bottom), self.layer_param.bias_param.filler)

    def _settings(self) -> tuple[int, int]:
        param = self.layer_param.bias_param
        return param.axis, param.num_axes

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Matches the offset with bottom 0's axes."""
        self._prepare(bottom, top)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        offset = self._operand(bottom).data_tensor.reshape(self._view)
        top[0].set_data(bottom[0].data_tensor + offset)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Passes the gradient on and sums it for the offset."""
        gradient = top[0].diff_tensor
        if self._operand_wanted(bottom, propagate_down):
            value = self._reduce(gradient.clone(), self._operand(bottom).dims)
            self._give(value, bottom)
        if propagate_down[0] and bottom[0] is not top[0]:
            bottom[0].set_diff(gradient.clone())
