"""The deploy net: what a trained net is used with, images in and predictions out, no data set."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from typing import Any

from dualnet.backend import caffe, caffe_pb2
from dualnet.cut.graph import NetGraph, read_net
from dualnet.errors import ConfigError

__all__ = ["deploy_net", "input_shapes"]

#: Losses on scores, and the layer that makes predictions of the same scores.
_PREDICTIONS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}


def input_shapes(path: str, labels: Iterable[str]) -> dict[str, list[int]]:
    """Shapes of one sample of what the data layers of phase TEST make, labels left out.

    Only their data set says it, so the net is built on it.

    Args:
        path: The train_test prototxt.
        labels: The blobs to leave out.

    Returns:
        Blob to shape, [1, C, H, W].

    Raises:
        ConfigError: The data set is not there.
    """
    graph = NetGraph(read_net(path), "TEST", path)
    sources = [layer for layer in graph.layers if not layer.bottom]
    for layer in sources:
        place = layer.data_param.source
        # BVLC Caffe ends the process over it.
        if place and not os.path.exists(place):
            raise ConfigError(
                f"{path}: {place}, which layer {layer.name} reads, is not there, and the deploy "
                "net needs the size of its images; merge where the data set is"
            )
    net = caffe.Net(path, caffe.TEST)
    blobs = [top for layer in sources for top in layer.top if top not in set(labels)]
    return {blob: [1, *(int(size) for size in net.blobs[blob].shape[1:])] for blob in blobs}


def deploy_net(net: Any, labels: Iterable[str], shapes: Mapping[str, Iterable[int]]) -> Any:
    """Make the deploy net of a training net.

    Args:
        net: The NetParameter.
        labels: Its blobs that hold labels.
        shapes: The shape of every other blob that its data layers make.

    Returns:
        A NetParameter: Input layers, the layers of phase TEST that lead to the last loss, and the
        predictions in place of that loss.
    """
    layers = NetGraph(net, "TEST", net.name).layers
    known = set(labels)
    body, scored = [], None
    for layer in layers:
        if known & set(layer.bottom):
            known |= set(layer.top)
            if layer.type.endswith("Loss"):
                scored = layer
        elif layer.bottom:
            body.append(layer)
    kept = body if scored is None else _leading_to(body, scored.bottom[0])
    if scored is not None and scored.type in _PREDICTIONS:
        kept.append(
            _prediction(scored, {name for layer in kept for name in (layer.name, *layer.top)})
        )
    read = {blob for layer in kept for blob in layer.bottom}
    deploy = caffe_pb2.NetParameter(name=net.name)
    for blob, shape in shapes.items():
        if blob in read:
            layer = deploy.layer.add(name=blob, type="Input", top=[blob])
            layer.input_param.shape.add(dim=list(shape))
    for layer in kept:
        deploy.layer.add().CopyFrom(layer)
    for layer in deploy.layer:
        for rules in ("include", "exclude"):
            layer.ClearField(rules)  # a deploy net is the same in each phase
        _clear_fillers(layer)
    return deploy


def _prediction(loss: Any, taken: Container[str]) -> Any:
    """The layer that makes predictions of what a loss scores, under a name that is not taken."""
    name = "prob"
    while name in taken:
        name += "_"
    layer = caffe_pb2.LayerParameter(name=name, type=_PREDICTIONS[loss.type], top=[name])
    layer.bottom.append(loss.bottom[0])
    if loss.HasField("softmax_param"):
        layer.softmax_param.CopyFrom(loss.softmax_param)
    return layer


def _leading_to(layers: list[Any], blob: str) -> list[Any]:
    """The layers that `blob` depends on."""
    wanted, kept = {blob}, []
    for layer in reversed(layers):
        if wanted & set(layer.top):
            wanted |= set(layer.bottom)
            kept.append(layer)
    return kept[::-1]


def _clear_fillers(layer: Any) -> None:
    """A deploy net's parameters come from the caffemodel."""
    for field, value in layer.ListFields():
        if field.name.endswith("_param") and hasattr(value, "ListFields"):
            for inner, _ in value.ListFields():
                if inner.name.endswith("filler"):
                    value.ClearField(inner.name)
