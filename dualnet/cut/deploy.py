"""The deploy net: what a trained net is used with, images in and predictions out, no data set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dualnet.backend import caffe_pb2
from dualnet.cut.heads import Head, leading_to, prediction_layer, without_losses

__all__ = ["Deploy", "deploy_net"]

#: Layers that are bound to the batch they were written for: their axis 0 may be time, or they may
#: count the samples by themselves.
_BOUND = ("LSTM", "RNN", "Recurrent", "Python", "BatchReindex")
_AXES = ("axis", "slice_dim", "concat_dim")


@dataclass(frozen=True)
class Deploy:
    """A deploy net and what it is for.

    Attributes:
        net: The NetParameter.
        inputs: Its input blobs.
        predictions: Blob of each prediction to the head that it is of.
        is_single: Whether it takes one sample, instead of the batch that the pieces take.
    """

    net: Any
    inputs: list[str]
    predictions: dict[str, Head]
    is_single: bool


def deploy_net(
    name: str,
    layers: Sequence[Any],
    heads: Sequence[Head],
    shapes: Mapping[str, Sequence[int]],
    stored: Collection[str],
) -> Deploy:
    """Make the deploy net of a training net.

    It takes one sample at a time where no layer is bound to the size of the batch, else a batch of
    the size that the data layers make.

    Args:
        name: The net's.
        layers: Its layers in the phase that predictions are made in.
        heads: What it predicts.
        shapes: The shapes of its blobs with a batch of its data layers.
        stored: Names of the layers whose parameters the caffemodel holds.

    Returns:
        Input layers for whatever data the predictions need, the layers that lead to them, and the
        predictions in place of the losses.
    """
    body = without_losses(layers)
    kept = leading_to(body, [head.blob for head in heads])
    taken = {text for layer in kept for text in (layer.name, *layer.top)}
    added, predictions = [], {}
    made = [head for head in heads if head.kind]
    for head in heads:
        top = head.blob
        if head.kind:
            top = _free("prob" if len(made) == 1 else f"{head.blob}_prob", taken)
            added.append(prediction_layer(head, top, top))
            taken.add(top)
        predictions[top] = head
    kept = [*kept, *added]
    sources = _sources(kept, stored)
    inputs = [top for _, top, is_constant in sources if not is_constant]
    if not inputs:  # a net on made-up data, constant at that
        sources = [(layer, top, False) for layer, top, _ in sources]
        inputs = [top for _, top, _ in sources]
    is_single = len(inputs) == len(sources) and _is_free(kept, inputs, predictions, shapes)
    deploy = caffe_pb2.NetParameter(name=name)
    names = {layer.name for layer in kept if layer.bottom or layer.name in stored}
    for layer, top, is_constant in sources:
        made_by = _constant(layer, top) if is_constant else _input(top, shapes[top], is_single)
        made_by.name = _free(top, names)
        deploy.layer.add().CopyFrom(made_by)
    for layer in kept:
        if layer.bottom or layer.name in stored:
            copy = deploy.layer.add()
            copy.CopyFrom(layer)
            for rules in ("include", "exclude"):
                copy.ClearField(rules)  # a deploy net is the same in each phase
            if layer.name in stored:
                _clear_fillers(copy)
    return Deploy(deploy, inputs, predictions, is_single)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _sources(kept: Sequence[Any], stored: Collection[str]) -> list[tuple[Any, str, bool]]:
    """What the data layers have to give: (layer, blob, whether it is the same in each batch)."""
    read = {blob for layer in kept for blob in layer.bottom}
    return [
        (layer, top, layer.type == "DummyData" and _filler(layer, i).type == "constant")
        for layer in kept
        if not layer.bottom and layer.name not in stored
        for i, top in enumerate(layer.top)
        if top in read
    ]


def _filler(layer: Any, top: int) -> Any:
    """What fills a top of a DummyData layer (dummy_data_layer.cpp)."""
    fillers = layer.dummy_data_param.data_filler
    if not fillers:
        return caffe_pb2.FillerParameter(type="constant", value=0)
    return fillers[top if len(fillers) > 1 else 0]


def _constant(layer: Any, top: str) -> Any:
    """A DummyData layer for one of the tops of another."""
    place = list(layer.top).index(top)
    param = layer.dummy_data_param
    made = caffe_pb2.LayerParameter(type="DummyData", top=[top])
    if param.shape:
        made.dummy_data_param.shape.add().CopyFrom(
            param.shape[place if len(param.shape) > 1 else 0]
        )
    else:
        sizes = (param.num, param.channels, param.height, param.width)
        made.dummy_data_param.shape.add(dim=[one[place if len(one) > 1 else 0] for one in sizes])
    made.dummy_data_param.data_filler.add().CopyFrom(_filler(layer, place))
    return made


def _input(top: str, shape: Sequence[int], is_single: bool) -> Any:
    layer = caffe_pb2.LayerParameter(type="Input", top=[top])
    layer.input_param.shape.add(dim=[1, *shape[1:]] if is_single else list(shape))
    return layer


def _is_free(
    kept: Sequence[Any],
    inputs: Sequence[str],
    predictions: Mapping[str, Head],
    shapes: Mapping[str, Sequence[int]],
) -> bool:
    """Whether a sample can stand alone: the first axis of all that goes in and out counts them."""
    ends = [*inputs, *(head.blob for head in predictions.values())]
    batches = {tuple(shapes[blob][:1]) for blob in ends if blob in shapes}
    return len(batches) == 1 and () not in batches and not any(map(_is_bound, kept))


def _is_bound(layer: Any) -> bool:
    if layer.type == "Reshape":  # 0 and -1 follow the bottom
        param = layer.reshape_param
        return param.axis == 0 and len(param.shape.dim) > 0 and param.shape.dim[0] > 0
    if layer.type == "Reduction":
        return layer.reduction_param.axis == 0
    if layer.type in ("Scale", "Bias") and len(layer.bottom) > 1:
        return False  # one factor a sample
    return layer.type in _BOUND or any(
        inner.name in _AXES and value == 0
        for field, param in layer.ListFields()
        if field.name.endswith("_param") and hasattr(param, "ListFields")
        for inner, value in param.ListFields()
    )


def _clear_fillers(layer: Any) -> None:
    """A deploy net's parameters come from the caffemodel."""
    for field, value in layer.ListFields():
        if field.name.endswith("_param") and hasattr(value, "ListFields"):
            for inner, _ in value.ListFields():
                if inner.name.endswith("filler"):
                    value.ClearField(inner.name)
