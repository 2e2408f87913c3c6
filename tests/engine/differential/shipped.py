"""The nets that Caffe ships, made to run without their data.

Data layers become Input layers of the shape that the data would have; dropout keeps everything, for
the two providers draw different numbers; a net without a loss is run backward from given gradients.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from dualnet.engine.formats import prototxt
from dualnet.engine.net import graph
from dualnet.engine.proto import caffe_pb2
from tests.engine.differential.random_net import RandomNet
from tests.engine.differential.writer import Given

__all__ = ["is_large", "net_files", "shipped_net", "solver_files"]

DATA = {"Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData"}
#: What the data of a folder's nets look like, and below what number their labels are.
SHAPES = {
    "bvlc_alexnet": ((3, 227, 227), 1000),
    "bvlc_googlenet": ((3, 224, 224), 1000),
    "bvlc_reference_caffenet": ((3, 227, 227), 1000),
    "cifar10": ((3, 32, 32), 10),
    "feature_extraction": ((3, 227, 227), 1000),
    "finetune_flickr_style": ((3, 227, 227), 20),
    "finetune_pascal_detection": ((3, 227, 227), 21),
    "hdf5_classification": ((4,), 2),
    "mnist": ((1, 28, 28), 10),
    "siamese": ((2, 28, 28), 2),
}
#: Larger inputs than this run one at a time.
LARGE = 100


#: A stage to choose where a net has several for one phase.
STAGES = {"mnist_autoencoder": "test-on-test"}


def net_files(root: Path) -> list[Path]:
    """All nets below models/ and examples/."""
    return [path for path in _prototxt(root) if not _is_solver(path)]


def solver_files(root: Path) -> list[Path]:
    """All solver settings below models/ and examples/."""
    return [path for path in _prototxt(root) if _is_solver(path)]


def shipped_net(path: Path, phase: int) -> RandomNet:
    """A shipped net without its data layers.

    Args:
        path: its prototxt.
        phase: 0 TRAIN, 1 TEST.

    Raises:
        PrototxtError: it cannot be read.
        KeyError: its folder is not in SHAPES.
    """
    net = prototxt.read_net(path)
    net.state.phase = phase
    net.state.stage.extend(filter(None, [STAGES.get(path.stem)]))
    filtered = graph.filter_layers(net)
    filtered.ClearField("state")
    inputs: dict[str, Given] = {}
    layers = list(filtered.layer)
    del filtered.layer[:]
    for layer in layers:
        if layer.type in DATA:
            for name, given in _data(path, layer).items():
                inputs[name] = given
                added = filtered.layer.add(name=name, type="Input", top=[name])
                added.input_param.shape.add().dim.extend(given.shape)
            continue
        if layer.type == "Input":
            shape = layer.input_param.shape[0]
            shape.dim[0] = 1 if max(shape.dim[1:]) > LARGE else 2
            inputs[layer.top[0]] = Given(tuple(shape.dim))
        layer.dropout_param.dropout_ratio = 0
        if layer.type != "Dropout":
            layer.ClearField("dropout_param")
        filtered.layer.add().CopyFrom(layer)
    types = {layer.type for layer in layers}
    if not any("Loss" in kind for kind in types) and not types & {"Accuracy", "Python"}:
        filtered.force_backward = True
    text = text_format.MessageToString(filtered)
    layers_at = str(path.parent / "layers") if "Python" in types else ""
    return RandomNet(seed=3, text=text, inputs=inputs, phase=phase, path=layers_at)


def is_large(net: RandomNet) -> bool:
    """Whether the net takes images so large that a pass takes seconds."""
    return any(size > LARGE for given in net.inputs.values() for size in given.shape)


def _data(path: Path, layer: caffe_pb2.LayerParameter) -> dict[str, Given]:
    """What a data layer gives, by top."""
    if layer.type == "DummyData":
        shape = tuple(layer.dummy_data_param.shape[0].dim)
        return {name: Given(shape) for name in layer.top}
    shape, classes = SHAPES[path.parent.name]
    batch = 1 if max(shape) > LARGE else 2
    return {
        name: Given((batch, *shape)) if index == 0 else Given((batch,), below=classes)
        for index, name in enumerate(layer.top)
    }


def _prototxt(root: Path) -> list[Path]:
    return sorted(
        path for folder in ("models", "examples") for path in (root / folder).rglob("*.prototxt")
    )


def _is_solver(path: Path) -> bool:
    return "base_lr" in path.read_text()
