"""BatchNorm: normalisation without the affine part (Caffe `L/batch_norm_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.neuron.activation import NeuronLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["BatchNorm"]

_aten = torch.ops.aten


@register("BatchNorm")
class BatchNorm(NeuronLayer):
    """(x - mean) / sqrt(variance + eps) for each channel.

    Bottom and top: (N, C, …), possibly the same blob. Batch statistics in TRAIN, stored ones in
    TEST, unless `use_global_stats` says otherwise.

    Parameters, which never learn: running sums of mean (C,) and variance (C,), and their normaliser
    (1,). Every batch multiplies all three by `moving_average_fraction` and adds its mean, its
    variance and 1, so that the running mean is blobs[0] / blobs[2]. PyTorch's BatchNorm stores that
    quotient itself, with its own fraction (momentum = 1 - moving_average_fraction).
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Creates the three statistics and fixes their learning rates at 0."""
        param = self.layer_param.batch_norm_param
        self._fraction = param.moving_average_fraction
        self._eps = param.eps
        self._global = self.phase == caffe_pb2.TEST
        if param.HasField("use_global_stats"):
            self._global = param.use_global_stats
        dims = bottom[0].dims
        if not dims:
            raise ShapeError(
                f"layer '{self.name}': a scalar has no channels to normalise; give a bottom of 1 "
                "axis or more"
            )
        self._channels = 1 if len(dims) == 1 else dims[1]
        for shape in ([self._channels], [self._channels], [1]):
            self.add_param(shape)
        specs = self.layer_param.param
        for index in range(3):
            if index == len(specs):
                specs.add(lr_mult=0.0)
            elif specs[index].lr_mult != 0:
                raise PrototxtError(
                    f"layer '{self.name}': cannot configure batch normalization statistics as "
                    f"layer parameters: param {index} has lr_mult {specs[index].lr_mult:g}, it "
                    "must be 0"
                )
        self._mean: Tensor | None = None
        self._inverse: Tensor | None = None
        self._input: Tensor | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        channels = 1 if len(dims) == 1 else dims[1]
        if channels != self._channels:
            raise ShapeError(
                f"layer '{self.name}': a bottom of shape {dims} has {channels} channels, the "
                f"statistics have {self._channels}"
            )
        top[0].reshape_like(bottom[0])

    def _planes(self, tensor: Tensor) -> Tensor:
        """A vector becomes one channel."""
        return tensor.view(-1, 1) if tensor.dim() == 1 else tensor

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Normalises, and in TRAIN adds the batch's statistics to the running ones."""
        in_place = bottom[0] is top[0]
        x = self._planes(bottom[0].detach_data() if in_place else bottom[0].data_tensor)
        mean_sum, variance_sum, factor = (blob.data_tensor for blob in self.blobs)
        if self._global:
            scale = torch.where(factor == 0, 0.0, factor.reciprocal())  # stays on the device
            self._mean = mean_sum * scale
            self._inverse = (variance_sum * scale + self._eps).rsqrt()
            shape = [1, -1] + [1] * (x.dim() - 2)
            result = (x - self._mean.view(shape)) * self._inverse.view(shape)
        else:
            # Without PyTorch's affine part and running statistics, which are not Caffe's.
            result, self._mean, self._inverse = _aten.native_batch_norm(
                x, None, None, None, None, True, 0.0, self._eps
            )
            # PyTorch returns 1 / sqrt(variance + eps) of the batch, which gives the variance back.
            # Caffe stores the unbiased one, which is n / (n - 1) times as large.
            count = x.numel() // self._channels
            variance = self._inverse.square().reciprocal() - self._eps
            unbias = count / (count - 1.0) if count > 1 else 1.0
            keep = self._fraction
            self.blobs[0].set_data(mean_sum * keep + self._mean)
            self.blobs[1].set_data(variance_sum * keep + variance.clamp_min(0.0) * unbias)
            self.blobs[2].set_data(factor * keep + 1.0)
        # In place the input is gone by the backward pass, unless it is kept here.
        self._input = x if in_place else None
        top[0].set_data(result.reshape(top[0].dims))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Differentiates through the batch's statistics; stored ones count as constants."""
        if not propagate_down[0] or self._inverse is None:
            return
        gradient = self._planes(top[0].diff_tensor)
        if self._global:
            shape = [1, -1] + [1] * (gradient.dim() - 2)
            result = gradient * self._inverse.view(shape)
        else:
            x = self._planes(bottom[0].data_tensor) if self._input is None else self._input
            result = _aten.native_batch_norm_backward(
                gradient, x, None, None, None, self._mean, self._inverse, True, self._eps,
                [True, False, False],
            )[0]  # fmt: skip
        bottom[0].set_diff(result.reshape(bottom[0].dims))
