"""A batch through a chain's pieces, and through what was merged of them: equal, or not.

The pieces are joined in memory, as in evaluate.py, and all layers run that the single net has.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from google.protobuf import text_format

from dualnet.backend import caffe, caffe_pb2
from dualnet.config import Cut
from dualnet.cut.data_files import missing_file
from dualnet.cut.deploy import Deploy
from dualnet.cut.graph import NetGraph
from dualnet.cut.heads import Head
from dualnet.cut.upstream import FEEDS, data_layers
from dualnet.errors import ConfigError
from dualnet.training.net.crossing import batch_of
from dualnet.training.net.driver import NetDriver, net_state

__all__ = ["Batch", "Part", "check_deploy", "check_merged", "phase_alone", "run_parts"]

#: The largest difference relative to the largest value of a blob: of the same batch through the
#: same layers, and of one sample alone, whose sums a library may order otherwise.
_SAME, _ALONE = 1e-5, 1e-4


@dataclass(frozen=True)
class Batch:
    """A batch that has passed through all pieces; all blobs by their names in the single net.

    Attributes:
        inputs: What the data layers made.
        values: The blobs asked for.
        shapes: The shape of every blob.
    """

    inputs: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    shapes: dict[str, list[int]]


def phase_alone(net: Any, graph: NetGraph) -> Any:
    """The layers of a phase as a net that is the same in each."""
    alone = caffe_pb2.NetParameter()
    alone.CopyFrom(net)
    del alone.layer[:]
    for layer in graph.layers:
        copy = alone.layer.add()
        copy.CopyFrom(layer)
        for field in ("include", "exclude", "phase"):
            copy.ClearField(field)
    return alone


@dataclass(frozen=True)
class Part:
    """A piece of a chain, in the phase in which it is run.

    Attributes:
        graph: Its layers.
        model: Its caffemodel.
        exchanged: Places of its layers that only serve the exchange with the piece above.
        parameters: Its layers to other parameters for them than the caffemodel's, BlobProtos.
        names: Its blobs that have another name in the merged net, to that name.
    """

    graph: NetGraph
    model: str
    exchanged: Collection[int]
    parameters: Mapping[str, Sequence[Any]]
    names: Mapping[str, str]

    def single_name(self, blob: str) -> str:
        """What the merged net calls a blob."""
        return self.names.get(blob, blob)


def run_parts(
    parts: Sequence[Part], cuts: Sequence[Cut], wanted: Collection[str], scratch: str
) -> Batch:
    """Run the next batch through all pieces, with layers as in tests.

    Args:
        parts: The pieces, from the data to the loss.
        cuts: Where they were cut.
        wanted: The blobs to return, by their names in the merged net.
        scratch: A folder for temporary files.

    Raises:
        ConfigError: Data is missing, or Caffe refuses a net.
    """
    nets = [_open_part(part, number, scratch) for number, part in enumerate(parts, 1)]
    sources = [data_layers(part.graph) for part in parts]
    inputs: dict[str, np.ndarray] = {}
    for part, net, layers in zip(parts, nets, sources):
        net.run(layers)
        tops = [top for layer in part.graph.layers if _is_data(layer) for top in layer.top]
        inputs.update((part.single_name(top), net.data(top).copy()) for top in tops)
    values: dict[str, np.ndarray] = {}
    shapes: dict[str, list[int]] = {}
    with _same_numbers():
        for number, (part, net) in enumerate(zip(parts, nets)):
            feeds = []
            if number:
                cut = cuts[number - 1]
                net.feed(batch_of(nets[number - 1], cut))
                feeds = [n for n, one in enumerate(part.graph.layers) if one.type in FEEDS]
            foreign = {*part.exchanged, *feeds}
            net.forward_without([*sources[number], *foreign])
            for place, layer in enumerate(part.graph.layers):
                for top in layer.top if place not in foreign else ():
                    name = part.single_name(top)
                    shapes[name] = list(net.data(top).shape)
                    if name in wanted:
                        values[name] = net.data(top).copy()
    return Batch(inputs, values, shapes)


def _open_part(part: Part, number: int, scratch: str) -> NetDriver:
    """A piece's net with its weights; its data must be here."""
    graph = part.graph
    for layer in graph.layers:
        missing = missing_file(layer, graph.path) if not layer.bottom else None
        if missing:
            raise ConfigError(
                f"{graph.path}: layer {layer.name}: {missing}, and the merged net is tried on its "
                "data; merge where the data set is"
            )
    path = os.path.join(scratch, f"net{number}.prototxt")
    _write(path, phase_alone(caffe_pb2.NetParameter(name=f"net{number}"), graph))
    net = _open(path, part.model, graph.path)
    for name, blobs in part.parameters.items():
        for i, blob in enumerate(blobs):
            stored = np.array(blob.data if len(blob.data) else blob.double_data, np.float32)
            target = net.net.params[name][i].data
            target[...] = stored.reshape(target.shape)
    return net


def check_merged(
    path: str, model: str, graph: NetGraph, state: Optional[Any], batch: Batch, label: str
) -> None:
    """Compare the merged net's outputs with the pieces' on one batch.

    Args:
        path: Its prototxt.
        model: Its caffemodel.
        graph: Its layers.
        state: The NetState that the solver adds in this phase.
        batch: What the pieces made.
        label: What to call the prototxt in messages.

    Raises:
        ConfigError: Caffe refuses it, or a blob differs.
    """
    net = _open(path, model, label, **net_state(state))
    for blob, values in batch.inputs.items():
        _fill(net, blob, values)
    with _same_numbers():
        net.forward_without(data_layers(graph))
    for blob, values in batch.values.items():
        _compare(label, blob, values, net.data(blob), _SAME)


def check_deploy(path: str, model: str, deploy: Deploy, batch: Batch, label: str) -> None:
    """Compare the deploy net's predictions with the pieces'; the arguments are `check_merged`'s.

    Raises:
        ConfigError: Caffe refuses it, or a prediction differs.
    """
    net = _open(path, model, label)
    part = slice(0, 1) if deploy.is_single else slice(None)
    for blob in deploy.inputs:
        _fill(net, blob, batch.inputs[blob][part])
    with _same_numbers():
        net.net.forward()
    for blob, head in deploy.predictions.items():
        expected = _predict(head, batch.values[head.blob])[part]
        _compare(label, blob, expected, net.data(blob), _ALONE if deploy.is_single else _SAME)


def _is_data(layer: Any) -> bool:
    return not layer.bottom and layer.type not in FEEDS


def _write(path: str, net: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text_format.MessageToString(net))


def _open(path: str, model: str, label: str, **state: Any) -> NetDriver:
    try:
        return NetDriver(caffe.Net(path, caffe.TEST, weights=model, **state), label)
    except Exception as error:  # the provider's own types, which BVLC Caffe lacks
        reason = " ".join(str(error).split()).replace(path, label)
        raise ConfigError(
            f"{label}: Caffe refuses the net: {reason}; nothing was written"
        ) from error


def _fill(net: NetDriver, blob: str, values: np.ndarray) -> None:
    if net.data(blob).shape != values.shape:
        net.net.blobs[blob].reshape(*values.shape)
    net.data(blob)[...] = values


@contextmanager
def _same_numbers() -> Iterator[None]:
    """Let users' Python layers draw the same random numbers each time."""
    drawn, numpy_drawn = random.getstate(), np.random.get_state()
    random.seed(1)
    np.random.seed(1)
    caffe.set_random_seed(1)
    try:
        yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)


def _predict(head: Head, scores: np.ndarray) -> np.ndarray:
    """What the layer that a head wants makes of its scores."""
    if head.kind == "Softmax":
        axis = 1 if head.axis is None else head.axis
        powers = np.exp(scores - scores.max(axis, keepdims=True))
        return np.asarray(powers / powers.sum(axis, keepdims=True))
    if head.kind == "Sigmoid":
        return np.asarray(0.5 * np.tanh(0.5 * scores) + 0.5)
    return scores


def _compare(
    label: str, blob: str, expected: np.ndarray, found: np.ndarray, tolerance: float
) -> None:
    """Compare a blob of a merged net with the pieces'.

    Raises:
        ConfigError: It differs.
    """
    remedy = (
        "nothing was written; layers that make other values each time, or that know their net's "
        "name, cannot be merged"
    )
    if expected.shape != found.shape:
        raise ConfigError(
            f"{label}: blob {blob} has shape {found.shape} here and {expected.shape} in the "
            f"pieces; {remedy}"
        )
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 0.0
    # The smallest scores that matter: a blob of zeros may become a rounding error.
    wrong = ~np.isclose(found, expected, 0.0, tolerance * max(scale, 1e-6), equal_nan=True)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ConfigError(
            f"{label}: blob {blob}{list(place)} is {found[place]:.8g} here and "
            f"{expected[place]:.8g} in the pieces; {remedy}"
        )
