"""What ends a net: losses, accuracies, and sums with a loss weight."""

from __future__ import annotations

import math

from tests.engine.differential.writer import Value, Writer

__all__ = ["LOSSES"]


def _normalization(writer: Writer, classes: int) -> str:
    words = []
    if writer.chance(0.4):
        words.append(f"ignore_label: {writer.pick(0, classes - 1)}")
    if writer.chance(0.5):
        mode = writer.one_of(["FULL", "VALID", "BATCH_SIZE", "NONE"])
        words.append(f"normalization: {mode}")
    elif writer.chance(0.3):
        words.append(f"normalize: {writer.one_of(['true', 'false'])}")
    return f"loss_param {{ {' '.join(words)} }}"


def _weight(writer: Writer) -> str:
    return f"loss_weight: {writer.real(0.1, 3)}" if writer.chance(0.4) else ""


def softmax_loss(writer: Writer, x: Value) -> bool:
    """Cross-entropy over any axis, with the accuracy of the same scores."""
    if len(x.shape) < 2:
        return False
    axis = writer.pick(1, len(x.shape) - 1)
    classes, shape = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    label = writer.given(shape, below=classes)
    if not writer.force and writer.chance(0.5):
        ignore = "ignore_label: 0" if writer.chance(0.3) else ""
        tops = 2 if writer.chance(0.4) else 1
        writer.layer("Accuracy", [x, label], [(), (classes,)][:tops],
                     f"accuracy_param {{ axis: {axis} top_k: {writer.pick(1, classes)} {ignore} }}",
                     keep=0, weighable=False)  # fmt: skip
    writer.layer("SoftmaxWithLoss", [x, label], [()],
                 f"softmax_param {{ axis: {axis} }} {_normalization(writer, classes)} "
                 f"{_weight(writer)}", keep=0, weighable=False)  # fmt: skip
    return True


def euclidean(writer: Writer, x: Value) -> bool:
    """Half the squared distance to another blob, or to an input."""
    if len(x.shape) > 4:
        return False
    other = next((v for v in writer.pool if v.shape == x.shape and v is not x), None)
    pair = [x, other or writer.given(x.shape)]
    if writer.chance(0.5):
        pair.reverse()
    writer.layer("EuclideanLoss", pair, [()], _weight(writer), keep=0, weighable=False)
    return True


def sigmoid_loss(writer: Writer, x: Value) -> bool:
    """Cross-entropy of independent bits, of small scores: 1 - sigmoid loses digits."""
    (x,) = writer.layer("Power", [x], [x.shape], "power_param { scale: 0.1 }", weighable=False)
    label = writer.given(x.shape, below=2)
    writer.layer(
        "SigmoidCrossEntropyLoss",
        [x, label],
        [()],
        f"{_normalization(writer, 2)} {_weight(writer)}",
        keep=0,
        weighable=False,
    )
    return True


def hinge(writer: Writer, x: Value) -> bool:
    """Margins between classes."""
    if not 2 <= len(x.shape) <= 4:
        return False
    label = writer.given((x.shape[0],), below=math.prod(x.shape[1:]))
    writer.once = True  # BVLC's second backward pass starts from the gradient of its first
    writer.layer("HingeLoss", [x, label], [()],
                 f"hinge_loss_param {{ norm: {writer.one_of(['L1', 'L2'])} }} {_weight(writer)}",
                 keep=0, weighable=False)  # fmt: skip
    return True


def contrastive(writer: Writer, x: Value) -> bool:
    """Distances of pairs."""
    if len(x.shape) != 2:
        return False
    other = writer.given(x.shape)
    same = writer.given((x.shape[0],), below=2)
    legacy = writer.one_of(["true", "false"])
    writer.layer("ContrastiveLoss", [x, other, same], [()],
                 f"contrastive_loss_param {{ margin: {writer.real(0.5, 5)} legacy_version: "
                 f"{legacy} }} {_weight(writer)}", keep=0, weighable=False)  # fmt: skip
    return True


def logistic(writer: Writer, x: Value) -> bool:
    """Softmax, then the logarithm of the label's probability."""
    if len(x.shape) != 2:
        return False
    (chances,) = writer.layer("Softmax", [x], [x.shape], weighable=False)
    label = writer.given((x.shape[0],), below=x.shape[1])
    writer.layer("MultinomialLogisticLoss", [chances, label], [()], _weight(writer), keep=0,
                 weighable=False)  # fmt: skip
    return True


def weighted_sum(writer: Writer, x: Value) -> bool:
    """Any sum with a loss weight."""
    axis = writer.pick(0, len(x.shape) - 1)
    operation = writer.one_of(["SUM", "ASUM", "SUMSQ", "MEAN"])
    writer.layer("Reduction", [x], [x.shape[:axis]], f"reduction_param {{ operation: {operation} "
                 f"axis: {axis} coeff: 0.3 }} loss_weight: {writer.real(-1, 2)}", keep=0,
                 weighable=False)  # fmt: skip
    return True


LOSSES = [
    softmax_loss, softmax_loss, softmax_loss, euclidean, sigmoid_loss, hinge, contrastive, logistic,
    weighted_sum,
]  # fmt: skip
