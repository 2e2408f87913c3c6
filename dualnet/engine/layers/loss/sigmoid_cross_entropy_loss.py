"""SigmoidCrossEntropyLoss (Caffe `L/sigmoid_cross_entropy_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dualnet.engine.errors import ShapeError
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.loss.labels import normalization_mode, normalizer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["SigmoidCrossEntropyLoss"]


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossLayer):
    """-sum of t log(s(x)) + (1 - t) log(1 - s(x)), s the sigmoid, by default divided by N.

    Bottoms: scores x and targets t in [0, 1], of one count. A target counts for nothing if its
    integer part is `ignore_label` (so that ignore_label 0 ignores 0.5 too, as in Caffe).
    """

    _probability: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        loss = self.layer_param.loss_param
        self._ignore: int | None = loss.ignore_label if loss.HasField("ignore_label") else None
        self._mode = normalization_mode(loss, caffe_pb2.LossParameter.BATCH_SIZE)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that there is a target for every score."""
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            raise ShapeError(
                f"layer '{self.name}': scores and targets must have the same count, they have "
                f"shapes {bottom[0].dims} and {bottom[1].dims}"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the loss without overflow: max(x, 0) - x t + log(1 + exp(-|x|))."""
        x = bottom[0].data_tensor
        target = bottom[1].data_tensor.reshape(x.shape)
        losses = x.abs().neg_().exp_().log1p_().add_(x.clamp_min(0)).sub_(x * target)
        valid: int | Tensor = x.numel()
        counted = None
        if self._ignore is not None:
            counted = target.trunc() != self._ignore
            valid = counted.sum()
            # Not a product, which would let an ignored infinity through.
            losses.masked_fill_(~counted, 0)
        outer = bottom[0].dims[0]
        self._divisor = normalizer(self._mode, outer, x.numel() // max(outer, 1), valid)
        self._probability, self._counted = x.sigmoid(), counted
        self.set_loss(top, losses.sum().div_(self._divisor))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """s(x) - t, times weight / divisor, 0 where ignored."""
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0] or self._probability is None:
            return
        target = bottom[1].data_tensor.reshape(bottom[0].dims)
        gradient = self._probability - target
        if self._counted is not None:
            gradient.masked_fill_(~self._counted, 0)
        gradient *= top[0].diff_tensor.reshape(()) / self._divisor
        bottom[0].set_diff(gradient)
