"""What a net predicts: its heads, found where losses and accuracies judge them.

A loss or an accuracy takes predictions and the truth. Which of its bottoms is which follows from
its type; where the type leaves it open, as in a EuclideanLoss or a Python layer, predictions are
what weights in training lead to. What only the truth needs is a label, through whatever Slice or
Reshape; all else is data, though it may cross the cut beside the labels: a Crop's reference, an
LSTM's `cont`, a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from dualnet.backend import caffe_pb2

__all__ = ["Head", "find_heads", "leading_to", "prediction_layer", "without_losses"]

#: Losses on scores, and the layer that makes predictions of the same scores.
_PREDICTIONS = {
    "SoftmaxWithLoss": "Softmax",
    "InfogainLoss": "Softmax",
    "SigmoidCrossEntropyLoss": "Sigmoid",
}
#: How many of their first bottoms are predictions.
_SCORES = {
    "SoftmaxWithLoss": 1,
    "InfogainLoss": 1,
    "SigmoidCrossEntropyLoss": 1,
    "HingeLoss": 1,
    "MultinomialLogisticLoss": 1,
    "Accuracy": 1,
    "ContrastiveLoss": 2,
}


@dataclass(frozen=True)
class Head:
    """One thing that a net predicts.

    Attributes:
        blob: The predictions, or the scores that they are made of.
        kind: The type of the layer that makes predictions of the scores; "" where they are there.
        axis: That layer's, where a Softmax has one.
    """

    blob: str
    kind: str = ""
    axis: Optional[int] = None


def find_heads(
    layers: Sequence[Any], training: Sequence[Any], stored: Mapping[str, int]
) -> list[Head]:
    """What a net predicts, in the net's order.

    Args:
        layers: The layers of the phase that predictions are made in.
        training: Those of phase TRAIN: a loss that stands there alone says what is scored.
        stored: Name of each layer that holds parameters to how many.
    """
    body = without_losses(layers)
    made = {top for layer in body for top in layer.top}
    learned = {id(part): _learned(part, stored) for part in (layers, training)}
    found: dict[str, Head] = {}
    scores: set[str] = set()
    truths: set[str] = set()
    for part in (layers, training):
        for layer in filter(_is_scorer, part):
            judged = _judged(layer, learned[id(part)])
            scores.update(blob for blob in judged if blob in made)
            truths.update(blob for blob in layer.bottom if blob not in judged)
            for blob in judged:
                head = Head(blob, _PREDICTIONS.get(layer.type, ""), _axis(layer))
                if blob in made and not (blob in found and found[blob].kind):
                    found[blob] = head
    labels = _sources(body, truths) - _sources(body, scores)
    of_labels = _reached(body, labels)
    for blob in _outputs(body, layers, of_labels, learned[id(layers)]):
        found.setdefault(blob, Head(blob))
    order = {top: place for place, layer in enumerate(body) for top in layer.top}
    heads = [_made_already(head, body) for head in found.values()]
    return sorted(dict.fromkeys(heads or _unread(body)), key=lambda head: order[head.blob])


def without_losses(layers: Iterable[Any]) -> list[Any]:
    """The layers without losses and accuracies; a loss's own predictions are made by their layer.

    SoftmaxWithLoss and InfogainLoss give the softmax as a second top, where the prototxt names one.
    """
    left = []
    for layer in layers:
        if not _is_scorer(layer):
            left.append(layer)
        elif layer.type in _PREDICTIONS and len(layer.top) > 1:
            head = Head(layer.bottom[0], _PREDICTIONS[layer.type], _axis(layer))
            left.append(prediction_layer(head, layer.top[1], layer.top[1]))
    return left


def prediction_layer(head: Head, top: str, name: str) -> Any:
    """The layer that makes predictions of a head's scores."""
    layer = caffe_pb2.LayerParameter(name=name, type=head.kind, bottom=[head.blob], top=[top])
    if head.axis is not None:
        layer.softmax_param.axis = head.axis
    return layer


def leading_to(layers: Sequence[Any], blobs: Iterable[str]) -> list[Any]:
    """The layers that make the blobs, and those that these depend on, in the net's order."""
    wanted, kept = set(blobs), []
    for layer in reversed(layers):
        if wanted & set(layer.top):
            wanted |= set(layer.bottom)
            kept.append(layer)
    return kept[::-1]


def _is_scorer(layer: Any) -> bool:
    """Whether a layer judges predictions."""
    is_weighted = any(weight != 0 for weight in layer.loss_weight)
    return bool(layer.bottom) and (
        layer.type == "Accuracy" or layer.type.endswith("Loss") or is_weighted
    )


def _judged(layer: Any, learned: set[str]) -> list[str]:
    """Which bottoms of a loss or an accuracy are predictions."""
    bottoms = list(layer.bottom)
    if layer.type in _SCORES:
        return bottoms[: _SCORES[layer.type]]
    return [blob for blob in bottoms if blob in learned] or bottoms[:1]


def _axis(layer: Any) -> Optional[int]:
    """The axis of a loss's classes, where its prototxt gives one."""
    for field in ("softmax_param", "infogain_loss_param"):
        param = getattr(layer, field)
        if layer.HasField(field) and param.HasField("axis"):
            return int(param.axis)
    return None


def _learned(layers: Iterable[Any], stored: Mapping[str, int]) -> set[str]:
    """The blobs that depend on weights in training."""
    found: set[str] = set()
    for layer in layers:
        if _learns(layer, stored.get(layer.name, 0)) or found & set(layer.bottom):
            found.update(layer.top)
    return found


def _learns(layer: Any, count: int) -> bool:
    """Whether training changes any of a layer's `count` parameters by their gradients."""
    rates = [spec.lr_mult for spec in layer.param]
    if layer.type == "BatchNorm":  # its three blobs are statistics (batch_norm_layer.cpp)
        return False
    return any(i >= len(rates) or rates[i] != 0 for i in range(count))


def _sources(layers: Sequence[Any], blobs: Iterable[str]) -> set[str]:
    """The blobs of layers without bottoms that others depend on."""
    wanted = set(blobs)
    needed = leading_to(layers, wanted)
    wanted.update(blob for layer in needed for blob in layer.bottom)
    return {top for layer in needed if not layer.bottom for top in layer.top if top in wanted}


def _reached(layers: Iterable[Any], blobs: Iterable[str]) -> set[str]:
    """The blobs that depend on any of `blobs`, these included."""
    found = set(blobs)
    for layer in layers:
        if found & set(layer.bottom):
            found.update(layer.top)
    return found


def _outputs(
    body: Sequence[Any], layers: Iterable[Any], of_labels: set[str], learned: set[str]
) -> list[str]:
    """Predictions that no loss judges: nothing reads them, or a layer compares them with labels."""
    read = {blob for layer in layers for blob in layer.bottom}
    found = []
    for layer in body:
        if not layer.bottom:
            continue
        if of_labels & set(layer.top):  # a Python layer's measure, mostly
            found += [blob for blob in layer.bottom if blob in learned - of_labels]
        else:
            found += [top for top in layer.top if top not in read and top in learned]
    return found


def _unread(body: Sequence[Any]) -> list[Head]:
    """What nothing reads, in a net without losses or weights."""
    read = {blob for layer in body for blob in layer.bottom}
    tops = [top for layer in body if layer.bottom for top in layer.top]
    return [Head(top) for top in tops if top not in read]


def _made_already(head: Head, body: Iterable[Any]) -> Head:
    """The head itself, or that of the layer that makes predictions of its scores already."""
    for layer in body:
        # Both without an axis have Caffe's default, 1.
        if (
            layer.type == head.kind
            and layer.bottom[0] == head.blob
            and layer.softmax_param.axis in (head.axis, head.axis or 1)
        ):
            return Head(layer.top[0])
    return head
