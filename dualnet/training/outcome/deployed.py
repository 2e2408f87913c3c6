"""A run's net as users of it run it, and batches to try it on.

Where the data set is, the net is tried against the pieces, as `dualnet merge` does, and the batches
are those of the test phase. Where it is not, its shape must be given, and they are random numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format

from dualnet.backend import caffe
from dualnet.config import Config
from dualnet.cut.data_files import missing_file
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.deploy import Deploy, deploy_net
from dualnet.cut.merge import merge_models
from dualnet.cut.shapes import build
from dualnet.cut.upstream import data_layers
from dualnet.errors import ConfigError
from dualnet.rundir import PieceDir
from dualnet.training.net.driver import NetDriver, net_state
from dualnet.training.outcome.merge import make
from dualnet.training.outcome.whole import Joined

__all__ = ["Batch", "Deployed", "deployed", "deployed_without_data"]

#: Input blob to values, (N, …) float32.
Batch = dict[str, np.ndarray]

_SEED = 1


@dataclass(frozen=True)
class Deployed:
    """A deploy net, and batches for it.

    Attributes:
        deploy: The net and what it predicts.
        path: Its prototxt.
        model: Its caffemodel.
        batches: Its inputs.
        is_data: Whether these are of the data set.
    """

    deploy: Deploy
    path: str
    model: str
    batches: Iterator[Batch]
    is_data: bool

    def load(self) -> Any:
        """The net on the engine, a new one each time."""
        return caffe.Net(self.path, caffe.TEST, weights=self.model)


def deployed(joined: Joined, config: Config, pieces: Sequence[PieceDir], scratch: str) -> Deployed:
    """The deploy net, tried on a batch of the data set against the pieces.

    Args:
        joined: What `join` made of the other arguments.
        scratch: A folder for temporary files.

    Raises:
        ConfigError: Data is missing, or the net gives other outputs than the pieces.
    """
    _require_data(joined)
    names = ("net.caffemodel", "train_test.prototxt", "deploy.prototxt")
    _, deploy = make(joined, config, pieces, "a run", names, scratch)
    model, whole, path = (os.path.join(scratch, name) for name in names)
    return Deployed(deploy, path, model, _stored(joined, whole, model, deploy.inputs), True)


def deployed_without_data(
    joined: Joined, given: Mapping[str, Sequence[int]], scratch: str
) -> Deployed:
    """The deploy net of data that is not here, with random numbers to try it on.

    Args:
        joined: The net.
        given: Blob of a data layer to the shape of one sample.
        scratch: A folder for temporary files.

    Raises:
        ConfigError: A shape is missing or does not fit.
    """
    graph, phase = joined.graph, joined.phase
    tops = {top for layer in graph.layers if not layer.bottom for top in layer.top}
    for blob in given:
        if blob not in tops:
            raise ConfigError(f"--shape {blob}: no data layer makes it; they make {_listed(tops)}")
    flow = DataflowGraph(joined.net, "the run's net", [phase], joined.states)
    shapes = build(flow, phase, given).blobs
    deploy = deploy_net(joined.net.name, graph.layers, joined.heads, shapes, joined.stored)
    model, path = (os.path.join(scratch, name) for name in ("net.caffemodel", "deploy.prototxt"))
    weights = merge_models(joined.net, joined.stored, joined.states.get("TRAIN"))
    with open(model, "wb") as file:
        file.write(weights.SerializeToString())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text_format.MessageToString(deploy.net))
    return Deployed(deploy, path, model, _random({b: shapes[b] for b in deploy.inputs}), False)


def _require_data(joined: Joined) -> None:
    for layer in joined.graph.layers:
        missing = missing_file(layer, joined.graph.path) if not layer.bottom else None
        if missing:
            raise ConfigError(
                f"layer {layer.name}: {missing}, and what is exported is tried on it; "
                "export where the data set is, or try it on random numbers: say what one sample "
                f"is, as in --shape {layer.top[0]}=3,32,32"
            )


def _stored(joined: Joined, path: str, model: str, inputs: Sequence[str]) -> Iterator[Batch]:
    """The batches of the data layers, for ever."""
    state = net_state(joined.states.get(joined.phase))
    net = NetDriver(caffe.Net(path, caffe.TEST, weights=model, **state), path)
    layers = data_layers(joined.graph)
    while True:
        net.run(layers)
        yield {blob: net.data(blob).copy() for blob in inputs}


def _random(shapes: Mapping[str, Sequence[int]]) -> Iterator[Batch]:
    """Normal numbers, the same for each call."""
    random = np.random.RandomState(_SEED)
    while True:
        yield {blob: random.randn(*shape).astype(np.float32) for blob, shape in shapes.items()}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
