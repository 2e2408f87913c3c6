"""Convolution and Deconvolution (Caffe `L/base_conv_layer.cpp`, `conv_layer.cpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dualnet.engine.core import device
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["Convolution", "Deconvolution"]

_aten = torch.ops.aten


class _BaseConvolution(Layer):
    """What Convolution and Deconvolution share.

    Bottoms: (N, C, H, W), or any number of spatial axes from 1 to 3. Tops: (N, num_output, H', W').
    Parameters: weights (num_output, C/group, kh, kw) (Deconvolution: (C, num_output/group, kh,
    kw)), and the bias (num_output,).
    """

    bottoms = (1, None)
    tops = (1, None)
    equal_bottoms_and_tops = True
    transposed: ClassVar[bool] = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.convolution_param
        self._axis = self.axis(param.axis, bottom[0])
        dims = bottom[0].dims
        spatial = len(dims) - self._axis - 1
        if not 1 <= spatial <= 3:
            raise ShapeError(
                f"layer '{self.name}': the engine convolves 1 to 3 spatial axes, a bottom of shape "
                f"{dims} with axis {param.axis} has {spatial}"
            )
        self._kernel = self._sizes("kernel", spatial, None)
        self._stride = self._sizes("stride", spatial, 1)
        self._pad = self._sizes("pad", spatial, 0)
        dilation = self._expand("dilation", list(param.dilation), spatial, 1)
        # Dilation does nothing to a kernel of 1, and PyTorch crashes on some such pairs.
        self._dilation = [d if k > 1 else 1 for d, k in zip(dilation, self._kernel)]
        self._channels = dims[self._axis]
        self._group, self._num_output = self._counts(self._channels)
        if not self._num_output:
            raise PrototxtError(f"layer '{self.name}': convolution_param needs num_output above 0")
        for what, count in (("channels", self._channels), ("num_output", self._num_output)):
            if not self._group or count % self._group:
                raise ShapeError(
                    f"layer '{self.name}': {what} ({count}) must be a multiple of group "
                    f"({self._group})"
                )
        # Deconvolution stores the weights of the convolution that it transposes.
        outer, inner = self._num_output, self._channels
        if self.transposed:
            outer, inner = inner, outer
        self.add_param([outer, inner // self._group, *self._kernel], param.weight_filler)
        self._bias = param.bias_term
        if self._bias:
            self.add_param([self._num_output], param.bias_filler)
        self._no_output_padding = [0] * spatial  # an option of PyTorch's that Caffe lacks

    def _counts(self, channels: int) -> tuple[int, int]:
        """`group` and `num_output`; a depthwise convolution takes them from the channels."""
        param = self.layer_param.convolution_param
        return param.group, param.num_output

    def _sizes(self, what: str, spatial: int, default: int | None) -> list[int]:
        """Reads `kernel_size` or `kernel_h` and `kernel_w`, and likewise stride and pad."""
        param = self.layer_param.convolution_param
        repeated = list(getattr(param, "kernel_size" if what == "kernel" else what))
        if param.HasField(f"{what}_h") or param.HasField(f"{what}_w"):
            if spatial != 2 or repeated:
                raise PrototxtError(
                    f"layer '{self.name}': {what}_h and {what}_w are for 2 spatial axes (here "
                    f"{spatial}) and exclude the common {what}"
                )
            repeated = [getattr(param, f"{what}_h"), getattr(param, f"{what}_w")]
        return self._expand(what, repeated, spatial, default)

    def _expand(self, what: str, given: list[int], spatial: int, default: int | None) -> list[int]:
        # One number is for all axes, several are one an axis; as lists, unlike Pooling's settings.
        if not given and default is not None:
            given = [default]
        if len(given) not in (1, spatial) or (what != "pad" and 0 in given):
            raise PrototxtError(
                f"layer '{self.name}': {what} is {given}; give one number above 0 or one for each "
                f"of the {spatial} spatial axes"
            )
        return given if len(given) == spatial else given * spatial

    def _output_size(self, size: int, i: int) -> int:
        raise NotImplementedError

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        for source, target in zip(bottom, top):
            dims = source.dims
            if len(dims) != self._axis + 1 + len(self._kernel) or dims[self._axis] != (
                self._channels
            ):
                raise ShapeError(
                    f"layer '{self.name}': a bottom of shape {dims} does not fit the weights "
                    f"{self.blobs[0].dims}; it needs {self._channels} channels on axis "
                    f"{self._axis}"
                )
            sizes = [self._output_size(n, i) for i, n in enumerate(dims[self._axis + 1 :])]
            if min(sizes) < 1:
                raise ShapeError(
                    f"layer '{self.name}': a bottom of shape {dims} is too small for kernel "
                    f"{self._kernel}, pad {self._pad}, stride {self._stride}, dilation "
                    f"{self._dilation}: the top would be {sizes}"
                )
            target.reshape(*dims[: self._axis], self._num_output, *sizes)

    def _flat(self, tensor: Tensor) -> Tensor:
        """All axes before the channels become one."""
        if self._axis == 1:
            return tensor
        return tensor.reshape(math.prod(tensor.shape[: self._axis]), *tensor.shape[self._axis :])

    def _batch(self, blob: Blob, gradient: bool = False) -> Tensor:
        """A blob's values as (N, C, …) in the memory order that convolves fastest.

        The blob keeps that order where it may, so that it is converted once and not by each layer.
        """
        if self._axis == 1 and device.use_channels_last(len(blob.dims)):
            order = torch.channels_last
            return blob.diff_in(order) if gradient else blob.data_in(order)
        return self._flat(blob.diff_tensor if gradient else blob.data_tensor)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        weight = self.blobs[0].data_tensor
        bias = self.blobs[1].data_tensor if self._bias else None
        for source, target in zip(bottom, top):
            if source is not target:  # in place, the old result is the input
                target.drop_data()  # lets the new one have its memory: one buffer less at the peak
            result = _aten.convolution(
                self._batch(source), weight, bias, self._stride, self._pad, self._dilation,
                self.transposed, self._no_output_padding, self._group,
            )  # fmt: skip
            target.set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        weight = self.blobs[0].data_tensor
        # One call computes the gradients that are wanted and skips the others.
        wanted = [self.wants_param(0), self._bias and self.wants_param(1)]
        for source, target, down in zip(bottom, top, propagate_down):
            if not (down or any(wanted)):
                continue
            if down and source is not target:
                source.drop_diff()
            to_bottom, to_weight, to_bias = _aten.convolution_backward(
                self._batch(target, gradient=True), self._batch(source), weight,
                [self._num_output] if self._bias else None, self._stride, self._pad,
                self._dilation, self.transposed, self._no_output_padding, self._group,
                [down, *wanted],
            )  # fmt: skip
            if down:
                source.set_diff(to_bottom)
            if wanted[0]:
                # For channels-last inputs PyTorch's result is channels-last too, and the fused SGD
                # takes contiguous gradients only (solvers/sgd.py).
                self.blobs[0].add_diff(to_weight.contiguous())
            if wanted[1]:
                self.blobs[1].add_diff(to_bias)


@register("Convolution")
class Convolution(_BaseConvolution):
    """Cross-correlation with learned filters."""

    def _output_size(self, size: int, i: int) -> int:
        # Rounded down, where Pooling rounds up.
        extent = self._dilation[i] * (self._kernel[i] - 1) + 1
        return (size + 2 * self._pad[i] - extent) // self._stride[i] + 1


@register("Deconvolution")
class Deconvolution(_BaseConvolution):
    """The transpose of Convolution: its forward pass is the other's gradient."""

    transposed = True

    def _output_size(self, size: int, i: int) -> int:
        extent = self._dilation[i] * (self._kernel[i] - 1) + 1
        return self._stride[i] * (size - 1) + extent - 2 * self._pad[i]
