"""InfogainLoss: cross-entropy weighted by a matrix (Caffe `L/infogain_loss_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from dualnet.engine.formats.prototxt import read_binary
from dualnet.engine.layers.base import Blobs, LossLayer
from dualnet.engine.layers.loss.labels import (
    class_labels,
    label_positions,
    normalization_mode,
    normalizer,
)
from dualnet.engine.layers.loss.multinomial_logistic_loss import PROBABILITY_FLOOR
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["InfogainLoss"]


@register("InfogainLoss")
class InfogainLoss(LossLayer):
    """-sum over positions and classes k of H[label, k] log(softmax(x)[k]), over a divisor.

    Bottoms: scores (N, C, …) with the classes on `infogain_loss_param.axis`, one label a position,
    and perhaps H, C * C values. Else H is a BlobProto file, `infogain_loss_param.source`. Top 1, if
    any, is the softmax; two tops need two loss weights.
    """

    bottoms = (2, 3)
    tops = (1, 2)

    _probability: Tensor | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.infogain_loss_param
        loss = self.layer_param.loss_param
        self._axis = param.axis
        self._ignore: int | None = loss.ignore_label if loss.HasField("ignore_label") else None
        self._mode = normalization_mode(loss, caffe_pb2.LossParameter.VALID)
        self._matrix: Tensor | None = None
        if len(bottom) < 3:
            if not param.source:
                raise PrototxtError(
                    f"layer '{self.name}': the infogain matrix is missing; name its file in "
                    "infogain_loss_param.source, or give it as bottom 2"
                )
            proto = read_binary(param.source, caffe_pb2.BlobProto)
            values = np.array(proto.data or proto.double_data, np.float32)
            self._matrix = torch.from_numpy(values)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Neither labels nor the matrix get a gradient."""
        return bottom_index == 0

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks labels and matrix against the scores."""
        super().reshape(bottom, top)
        dims = bottom[0].dims
        self._dim = self.axis(self._axis, bottom[0])
        classes = dims[self._dim]
        self._outer, self._inner = label_positions(self.name, bottom, self._dim, "infogain axis")
        if self._matrix is not None:
            where = f"the file '{self.layer_param.infogain_loss_param.source}'"
            found = self._matrix.numel()
        else:
            where, found = f"bottom 2 of shape {bottom[2].dims}", bottom[2].count
        if found != classes**2:
            raise ShapeError(
                f"layer '{self.name}': {classes} classes need a matrix of {classes} x {classes} "
                f"values, {where} has {found}"
            )
        if len(top) > 1:
            top[1].reshape(*dims)

    def _rows(self, bottom: Blobs) -> Tensor:
        """H, (C, C), on the device."""
        if self._matrix is None:
            matrix = bottom[2].data_tensor
        else:
            matrix = self._matrix = self._matrix.to(bottom[0].data_tensor.device)
        classes = bottom[0].dims[self._dim]
        return matrix.reshape(classes, classes)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        scores = bottom[0].data_tensor
        classes = scores.shape[self._dim]
        probability = scores.softmax(self._dim)
        labels = bottom[1].data_tensor.reshape(self._outer, self._inner)
        labels = class_labels(self.name, labels, classes, self._ignore)
        valid: int | Tensor = labels.numel()
        counted = None
        if self._ignore is not None:
            counted = labels != self._ignore
            labels = labels * counted
            valid = counted.sum()
        # (outer, C, inner): the row of H that each position's label chooses.
        rows = self._rows(bottom)[labels].transpose(1, 2)
        if counted is not None:
            rows = rows * counted[:, None, :]
        logs = probability.reshape(self._outer, classes, self._inner)
        logs = logs.clamp_min(PROBABILITY_FLOOR).log_()
        self._divisor = normalizer(self._mode, self._outer, self._inner, valid)
        self._probability, self._chosen = probability, rows
        self.set_loss(top, (rows * logs).sum().neg_().div_(self._divisor))
        if len(top) > 1:
            top[1].set_data(probability.clone())

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """p * sum(H[label]) - H[label], times weight / divisor."""
        self.refuse_label_gradient(propagate_down)
        if len(propagate_down) > 2 and propagate_down[2]:
            raise GraphError(
                f"layer '{self.name}' ({self.type}) cannot backpropagate to its infogain matrix "
                "(bottom 2); set propagate_down to false for it"
            )
        if not propagate_down[0] or self._probability is None:
            return
        rows = self._chosen
        p = self._probability.reshape(rows.shape)
        gradient = p * rows.sum(dim=1, keepdim=True) - rows
        gradient *= top[0].diff_tensor.reshape(()) / self._divisor
        bottom[0].set_diff(gradient.reshape(bottom[0].dims))
