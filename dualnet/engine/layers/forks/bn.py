"""BN: normalisation with its own scale and shift, of two forks (SegNet; PSPNet and TSN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["BN"]

_aten = torch.ops.aten
#: SegNet's addition to the variance, which cannot be set.
_SEGNET_EPS = 1e-9
_SEGNET_FIELDS = ("scale_filler", "shift_filler", "bn_mode")
_PSPNET_FIELDS = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")


@register("BN")
class BN(Layer):
    """scale * (x - mean) / sqrt(variance + eps) + shift for each channel.

    Bottom and top: (N, C, …), possibly the same blob. Parameters are (1, C, 1, 1).

    SegNet's has two, scale and shift. Mean and variance are the batch's in both phases (bn_mode
    LEARN), or scale and shift stand for all (INFERENCE: scale * x + shift). Tops 1 and 2, if any,
    are the batch's mean and variance, without gradient.

    PSPNet's has four: slope, bias, and running mean and variance, which do not learn. TEST and
    `frozen` use the running ones; frozen, nothing learns. Unlike BatchNorm's, running values are
    averages, not sums, and the variance is the biased one.

    Which of the two it is, the fields of bn_param say; without any, three `param` or more, or four
    stored blobs, mean PSPNet's.
    """

    bottoms = 1
    tops = (1, 3)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.bn_param
        self._is_running = self._of_pspnet(len(top))
        self._batch = True
        self._affine_only = False
        if len(bottom[0].dims) < 2:
            raise ShapeError(
                f"layer '{self.name}' (BN): a bottom of shape {bottom[0].dims} has no channels; it "
                "needs 2 axes or more"
            )
        shape = (1, bottom[0].dims[1], 1, 1)
        if self._is_running:
            self._eps, self._keep = param.eps, param.momentum
            self._frozen = param.frozen
            self._batch = not param.frozen and self.phase == caffe_pb2.TRAIN
            self.add_param(shape, param.slope_filler)
            self.add_param(shape, param.bias_filler)
            self.add_param(shape)
            self.add_param(shape, caffe_pb2.FillerParameter(value=float(param.frozen)))
            self._fix_rates()
        else:
            self._eps, self._frozen = _SEGNET_EPS, False
            self._affine_only = param.bn_mode == param.INFERENCE
            self.add_param(shape, param.scale_filler)
            self.add_param(shape, param.shift_filler)
        self._input: Tensor | None = None
        self._mean: Tensor | None = None
        self._inverse: Tensor | None = None

    def _of_pspnet(self, tops: int) -> bool:
        param = self.layer_param.bn_param
        found = [
            [name for name in names if param.HasField(name)]
            for names in (_SEGNET_FIELDS, _PSPNET_FIELDS)
        ]
        if all(found):
            raise PrototxtError(
                f"layer '{self.name}': bn_param has {', '.join(found[0])} of SegNet's BN and "
                f"{', '.join(found[1])} of PSPNet's; give the fields of one"
            )
        is_running = bool(found[1])
        if not any(found):
            is_running = len(self.layer_param.param) > 2 or len(self.layer_param.blobs) > 2
        if is_running and tops > 1:
            raise PrototxtError(
                f"layer '{self.name}' has {tops} tops; PSPNet's BN has one, only SegNet's gives "
                "mean and variance"
            )
        return is_running

    def _fix_rates(self) -> None:
        """Running statistics never learn; frozen, slope and bias do not either."""
        specs = self.layer_param.param
        while len(specs) < 4:
            specs.add()
        for spec in specs[0 if self._frozen else 2 :]:
            spec.lr_mult = spec.decay_mult = 0.0

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        dims = bottom[0].dims
        if len(dims) < 2 or dims[1] != self.blobs[0].dims[1]:
            raise ShapeError(
                f"layer '{self.name}' (BN): a bottom of shape {dims} does not have the "
                f"{self.blobs[0].dims[1]} channels of the parameters"
            )
        top[0].reshape_like(bottom[0])
        for blob in top[1:]:
            blob.reshape(1, dims[1], 1, 1)

    def _vector(self, index: int) -> Tensor:
        return self.blobs[index].data_tensor.reshape(-1)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Normalises, scales and shifts; in place it keeps the input."""
        in_place = bottom[0] is top[0]
        x = bottom[0].detach_data() if in_place else bottom[0].data_tensor
        self._input = x if in_place else None
        scale, shift = self._vector(0), self._vector(1)
        if self._batch and not self._affine_only:
            result, self._mean, self._inverse = _aten.native_batch_norm(
                x, scale, shift, None, None, True, 0.0, self._eps
            )
            if self._is_running or len(top) > 1:
                self._publish_statistics(x, top)
        else:
            self._mean, self._inverse = self._fixed_statistics()
            shape = [1, -1] + [1] * (x.dim() - 2)
            factor = self._inverse * scale
            result = torch.addcmul((shift - self._mean * factor).view(shape), x, factor.view(shape))
        top[0].set_data(result)

    def _publish_statistics(self, x: Tensor, top: Blobs) -> None:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variance, mean = torch.var_mean(x, axes, correction=0)
        for blob, value in zip(top[1:], (mean, variance)):
            blob.set_data(value)
        if self._is_running:
            for index, value in ((2, mean), (3, variance)):
                kept = self._vector(index) * self._keep
                self.blobs[index].set_data(kept + value * (1.0 - self._keep))

    def _fixed_statistics(self) -> tuple[Tensor, Tensor]:
        if self._affine_only:
            one = torch.ones_like(self._vector(0))
            return torch.zeros_like(one), one
        return self._vector(2).clone(), (self._vector(3) + self._eps).rsqrt()

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Differentiates through the batch's statistics; running ones count as constants."""
        if self._mean is None or self._inverse is None:
            return
        gradient = top[0].diff_tensor
        x = bottom[0].data_tensor if self._input is None else self._input
        wanted = [self.wants_param(index) and not self._frozen for index in (0, 1)]
        scale = self._vector(0)
        if self._batch and not self._affine_only:
            mask = [propagate_down[0], *wanted]
            found = _aten.native_batch_norm_backward(
                gradient, x, scale, None, None, self._mean, self._inverse, True, self._eps, mask
            )
        else:
            shape = [1, -1] + [1] * (x.dim() - 2)
            axes = [axis for axis in range(x.dim()) if axis != 1]
            normal = (x - self._mean.view(shape)) * self._inverse.view(shape)
            found = (
                gradient * (scale * self._inverse).view(shape),
                (gradient * normal).sum(axes),
                gradient.sum(axes),
            )
        if propagate_down[0]:
            bottom[0].set_diff(found[0])
        for index in (0, 1):
            if wanted[index]:
                self.blobs[index].add_diff(found[index + 1])
