"""What losses of class labels share: where the labels are, their check, and the divisor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dualnet.engine.errors import DataError, ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.proto import caffe_pb2

__all__ = ["class_labels", "label_positions", "normalization_mode", "normalizer"]


def label_positions(name: str, bottom: Blobs, axis: int, what: str) -> tuple[int, int]:
    """How many positions, each with one label, scores have before and after the axis of classes.

    Args:
        name: the layer, for the message.
        bottom: scores (outer…, C, inner…) and outer * inner labels.
        axis: that of the classes.
        what: the name of the axis, for the message.

    Raises:
        ShapeError: there is another number of labels.
    """
    dims = bottom[0].dims
    outer, inner = math.prod(dims[:axis]), math.prod(dims[axis + 1 :])
    if outer * inner != bottom[1].count:
        raise ShapeError(
            f"layer '{name}': number of labels must match number of predictions: predictions "
            f"{dims} with {what} {axis} need {outer * inner} labels, bottom 1 has shape "
            f"{bottom[1].dims}"
        )
    return outer, inner


def normalization_mode(param: caffe_pb2.LossParameter, default: int) -> int:
    """How a loss is normalised; the old `normalize` field counts unless the new one is there.

    Args:
        param: the layer's `loss_param`.
        default: the mode of this layer type.
    """
    if param.HasField("normalization"):
        return int(param.normalization)
    if param.HasField("normalize"):
        return int(param.VALID if param.normalize else param.BATCH_SIZE)
    return default


def normalizer(mode: int, outer: int, inner: int, valid: int | Tensor) -> float | Tensor:
    """What a summed loss is divided by, at least 1.

    Args:
        mode: a `LossParameter.NormalizationMode`.
        outer: the batch size.
        inner: positions a sample.
        valid: positions with a label that counts, over the batch; a scalar tensor where they were
            counted on the device, where the result then stays.
    """
    modes = caffe_pb2.LossParameter
    if mode == modes.VALID:
        return valid.clamp_min(1) if isinstance(valid, Tensor) else max(1.0, float(valid))
    value = {modes.FULL: outer * inner, modes.BATCH_SIZE: outer, modes.NONE: 1}[mode]
    return max(1.0, float(value))


def class_labels(name: str, labels: Tensor, classes: int, ignore: int | None) -> Tensor:
    """Labels as int64, checked on the CPU only.

    On a GPU the check would wait for all work before it. A label that is no class there ends in a
    device-side assert, after which the process cannot use the GPU.

    Args:
        name: the layer, for the message.
        labels: float32, any shape.
        classes: how many there are.
        ignore: the label that does not count, which may lie outside.

    Raises:
        DataError: a label is not a class (on the CPU).
    """
    result = labels.to(torch.int64)
    if labels.device.type == "cpu" and result.numel():
        counted = result if ignore is None else result[result != ignore]
        if counted.numel() and not (int(counted.min()) >= 0 and int(counted.max()) < classes):
            raise DataError(
                f"layer '{name}': labels range from {int(counted.min())} to {int(counted.max())}, "
                f"the predictions have {classes} classes (0 to {classes - 1})"
            )
    return result
