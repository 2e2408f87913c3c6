"""The shapes that a net's blobs have, and which layers learn, as Caffe itself finds them.

The net is built as it stands, but for fillers (nothing is computed) and for data layers whose shape
the user gave. BVLC Caffe ends the process on a mistake, so it builds in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf import text_format

from dualnet import backend, children
from dualnet.backend import caffe, caffe_pb2
from dualnet.cut.data_files import locate_files, missing_file
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import batch_size_of
from dualnet.cut.inserted import numbers_of
from dualnet.errors import ConfigError

__all__ = ["Built", "build", "build_phases", "built_of"]

Shape = list[int]


class Built(NamedTuple):
    """What building a net in one phase shows.

    Attributes:
        blobs: Blob to shape.
        parameters: A layer's number in the prototxt to the shapes of its parameters, where it has
            any.
    """

    blobs: dict[str, Shape]
    parameters: dict[int, list[Shape]]

    def learns(self, dataflow: DataflowGraph, number: int) -> bool:
        """Whether training changes a layer's parameters."""
        layer = dataflow.layers[number]
        if layer.type == "BatchNorm":  # its three blobs are statistics (batch_norm_layer.cpp)
            return False
        rates = [spec.lr_mult for spec in layer.param]
        count = len(self.parameters.get(number, []))
        return any(i >= len(rates) or rates[i] != 0 for i in range(count))

    def learning(self, dataflow: DataflowGraph) -> set[int]:
        """Numbers of the layers whose parameters training changes."""
        return {number for number in dataflow.used["TRAIN"] if self.learns(dataflow, number)}


def build(dataflow: DataflowGraph, phase: str, given: Mapping[str, Sequence[int]]) -> Built:
    """Build one phase of a net; see `build_phases`."""
    return build_phases(dataflow, [phase], given)[phase]


def build_phases(
    dataflow: DataflowGraph, phases: Iterable[str], given: Mapping[str, Sequence[int]]
) -> dict[str, Built]:
    """Build some phases of a net.

    Args:
        dataflow: The net.
        phases: Which of its phases.
        given: Blob of a data layer to the shape of one sample, for data that is not here.

    Raises:
        ConfigError: Data is missing, Caffe refuses the net, or layers that share a name have
            weights.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for phase in phases:
            paths[phase] = os.path.join(scratch, f"{phase}.prototxt")
            with open(paths[phase], "w", encoding="utf-8") as file:
                file.write(text_format.MessageToString(_phase(dataflow, phase, given)))
        found = (_build_apart if backend.provider == "bvlc" else _build_here)(paths, dataflow)
    return {
        phase: _by_number(dataflow, phase, blobs, parameters)
        for phase, (blobs, parameters) in zip(paths, found)
    }


def built_of(net: Any, dataflow: DataflowGraph, phase: str) -> Built:
    """What a net that is built already shows, `dataflow` being its prototxt's."""
    return _by_number(dataflow, phase, *_shapes_of(net))


def _by_number(
    dataflow: DataflowGraph, phase: str, blobs: dict[str, Shape], parameters: list[list[Shape]]
) -> Built:
    """Parameters by the layer's number, none of whose names is ambiguous."""
    numbers = dataflow.used[phase]
    built = Built(blobs, {number: shapes for number, shapes in zip(numbers, parameters) if shapes})
    for number in built.parameters:
        name = dataflow.layers[number].name
        same = [n for n in numbers if dataflow.layers[n].name == name]
        if len(same) > 1:
            layers = " and ".join(f"layer {n} ({dataflow.layers[n].type})" for n in same)
            raise ConfigError(
                f"{dataflow.path}: {len(same)} layers named {name!r} in phase {phase}, {layers}, "
                f"and layer {number} has weights, which a caffemodel knows by the layer's name; "
                "give one of them another name"
            )
    return built


def _phase(dataflow: DataflowGraph, phase: str, given: Mapping[str, Sequence[int]]) -> Any:
    """The layers of a phase alone, without fillers."""
    net = caffe_pb2.NetParameter(name=dataflow.net.name)
    for number in dataflow.used[phase]:
        layer = net.layer.add()
        layer.CopyFrom(dataflow.layers[number])
        layer.ClearField("include")
        layer.ClearField("exclude")
        locate_files(layer, dataflow.path)
        _drop_fillers(layer)
        if any(top in given for top in layer.top):
            _feed(layer, given, dataflow.path)
        else:
            _require_source(layer, dataflow.path)
    return net


def _build_here(paths: Mapping[str, str], dataflow: DataflowGraph) -> list[Any]:
    found = []
    for phase, path in paths.items():
        try:
            found.append(_built_shapes(path, phase))
        except Exception as error:  # the provider's own types, which BVLC Caffe lacks
            reason = " ".join(str(error).split()).replace(f"{path}: ", "")
            reason = reason.replace(path, dataflow.path)
            raise ConfigError(f"{dataflow.path}: Caffe refuses phase {phase}: {reason}") from error
    return found


def _build_apart(paths: Mapping[str, str], dataflow: DataflowGraph) -> list[Any]:
    words = [word for phase, path in paths.items() for word in (path, phase)]
    done = subprocess.run(
        [sys.executable, "-m", "dualnet.cut.shapes", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "GLOG_minloglevel": "2", "GLOG_logtostderr": "1",
             "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode:
        fatal = re.findall(r"^F\d.*?\] (.*)", done.stderr, re.MULTILINE)
        lines = (
            fatal
            or done.stderr.strip().splitlines()[-1:]
            or ["the process ended without an error message"]
        )
        phase = list(paths)[len(found)]
        raise ConfigError(f"{dataflow.path}: Caffe refuses phase {phase}: {lines[0]}")
    return found


def _built_shapes(path: str, phase: str) -> tuple[dict[str, Shape], list[list[Shape]]]:
    return _shapes_of(caffe.Net(path, getattr(caffe, phase)))


def _shapes_of(net: Any) -> tuple[dict[str, Shape], list[list[Shape]]]:
    """Shapes of the blobs by name, and of each of the prototxt's layers' parameters in order."""
    blobs = {str(name): _shape(blob) for name, blob in net.blobs.items()}
    layers = net.layers
    return blobs, [[_shape(blob) for blob in layers[n].blobs] for n in numbers_of(net)]


def _shape(blob: Any) -> Shape:
    return [int(size) for size in blob.shape]


def _drop_fillers(message: Any) -> None:
    """Weights stay zero: drawing the numbers of a large net takes seconds."""
    for field, value in message.ListFields():
        if field.name.endswith("_filler") or field.name == "filler":
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE and hasattr(value, "ListFields"):
            _drop_fillers(value)


def _feed(layer: Any, given: Mapping[str, Sequence[int]], path: str) -> None:
    """Make a data layer an Input layer; tops without a given shape are labels, (N,)."""
    batch = batch_size_of(layer)
    if layer.bottom or not batch:
        raise ConfigError(
            f"{path}: --shape: layer {layer.name} of type {layer.type} is no data layer with a "
            "batch size; give the shape of a data layer's top"
        )
    tops = list(layer.top)
    name = layer.name
    layer.Clear()
    layer.name, layer.type = name, "Input"
    layer.top.extend(tops)
    for top in tops:
        layer.input_param.shape.add(dim=[batch, *given.get(top, ())])


def _require_source(layer: Any, path: str) -> None:
    """Say which data is missing before Caffe does, in more words."""
    top = layer.top[0] if layer.top else "data"
    remedy = f"make it, or say what one sample is, as in --shape {top}=3,32,32"
    missing = missing_file(layer, path)
    if missing:
        raise ConfigError(f"{path}: layer {layer.name}: {missing}; {remedy}")


def _show(words: list[str]) -> None:
    """Each net's shapes, a line of JSON: what `_build_apart` asks a process of its own for."""
    children.adopt()
    try:
        for path, phase in zip(words[::2], words[1::2]):
            sys.stdout.write(json.dumps(_built_shapes(path, phase)) + "\n")
            sys.stdout.flush()  # the next net may end the process
    finally:
        children.watch_exit(0, lambda line: None)


if __name__ == "__main__":
    _show(sys.argv[1:])
