"""Nets and weights of older Caffe versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError
from dualnet.engine.formats import prototxt
from dualnet.engine.layers.registry import layer_type_list
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

LEGACY = Path(__file__).parent.parent / "legacy"


def read(tmp_path, text):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return prototxt.read_net(path)


def test_v0_becomes_present(capfd):
    net = prototxt.read_net(LEGACY / "v0.prototxt")
    layers = {layer.name: layer for layer in net.layer}
    assert not net.layers and not net.input
    assert "unknown parameter pad for layer type im2col" in capfd.readouterr().err
    conv = layers["conv"]
    assert conv.type == "Convolution" and list(conv.bottom) == ["data"]  # past the padding layer
    assert list(conv.convolution_param.pad) == [2]
    assert list(conv.convolution_param.kernel_size) == [3]
    assert not conv.convolution_param.bias_term
    assert [(p.lr_mult, p.decay_mult) for p in conv.param] == [(1, 1), (2, 0)]
    assert layers["pool"].pooling_param.pad == 1 and list(layers["pool"].bottom) == ["conv"]
    data = layers["data"]
    assert data.transform_param.scale == 0.5 and data.transform_param.crop_size == 5
    assert data.data_param.source == "db" and not data.data_param.HasField("scale")
    assert layers["sl"].type == "SoftmaxWithLoss"
    assert not {layer.type for layer in net.layer} - set(_all_types())


def test_v1_becomes_present():
    net = prototxt.read_net(LEGACY / "v1.prototxt")
    layers = {layer.name: layer for layer in net.layer}
    specs = layers["p"].param
    assert [s.name for s in specs] == ["w", "b", "c"]
    assert [s.lr_mult for s in specs] == [1, 2, 1] and specs[0].decay_mult == 0
    assert specs[0].share_mode == caffe_pb2.ParamSpec.PERMISSIVE
    assert layers["p"].include[0].phase == caffe_pb2.TRAIN and list(layers["p"].loss_weight) == [3]
    assert layers["d"].transform_param.mean_file == "m" and layers["d"].transform_param.mirror
    assert layers["d"].data_param.backend == caffe_pb2.DataParameter.LMDB
    assert layers["d2"].transform_param.scale == pytest.approx(0.1)
    assert not layers["d2"].transform_param.mirror  # the data layer's own field wins
    assert layers["m"].data_param.scale == 0.5  # only data layers are read
    assert not {layer.type for layer in net.layer if layer.type} - set(_all_types())


def _all_types():
    """Types of the legacy layouts; the engine's own list grows file by file."""
    return {*layer_type_list(), "HDF5Data", "HDF5Output", "ImageData", "WindowData"} | {
        "AbsVal", "ArgMax", "BNLL", "ContrastiveLoss", "Exp", "HingeLoss", "Im2col",
        "InfogainLoss", "MVN", "MultinomialLogisticLoss", "Power", "SigmoidCrossEntropyLoss",
        "Silence", "Slice", "Threshold",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layers { layer { name: "x" type: "odd" } }', "'x' has unknown type 'odd'.*innerproduct"),
        (
            'layers { layer { name: "x" type: "relu" } bottom: "gone" }',
            "layer 'x', bottom 0: unknown blob 'gone'",
        ),
        (
            'input: "q" layers { layer { name: "p" type: "padding" } bottom: "q" top: "r" } '
            'layers { layer { name: "x" type: "relu" } bottom: "r" top: "s" }',
            "padding layer 'p' feeds layer 'x' .relu, 1 bottoms",
        ),
        ('layers { name: "a" type: RELU } layer { name: "b" }', "1 'layer' and 1 'layers' fields"),
        ('input: "a" input: "b" input_shape { dim: 1 }', "2 'input' need 2 'input_shape'"),
        ('input: "a" input_dim: 3', "1 'input' need 1 'input_shape' or 4 'input_dim'"),
    ],
)
def test_what_cannot_be_rewritten(tmp_path, text, message):
    with pytest.raises(PrototxtError, match=f"net.prototxt: .*{message}"):
        read(tmp_path, text)


def test_batch_norm_with_three_params_learns_nothing(tmp_path):
    text = 'layer { type: "BatchNorm" param { lr_mult: 3 } param { name: "s" } param {} }'
    specs = read(tmp_path, text).layer[0].param
    assert [(s.lr_mult, s.decay_mult) for s in specs] == [(0, 0)] * 3 and specs[1].name == "s"


def test_inputs_without_shape_vanish(tmp_path):
    net = read(tmp_path, 'input: "a" layer { name: "x" type: "ReLU" bottom: "a" top: "b" }')
    assert not net.input and [layer.name for layer in net.layer] == ["x"]


MODERN = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 2 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "y" inner_product_param { num_output: 5 } }
"""
SHAPES = {"conv": [(3, 2, 3, 3), (1, 1, 1, 3)], "ip": [(1, 1, 5, 12), (1, 1, 1, 5)]}


def store(layers, values, wrap):
    """Fills a caffemodel's layers of 2013 or 2014 with four-number blobs."""
    for name, shapes in SHAPES.items():
        layer = layers.add()
        if wrap:
            layer = layer.layer
        layer.name = name
        if wrap:
            layer.type = {"conv": "conv", "ip": "innerproduct"}[name]
        for shape, value in zip(shapes, values[name]):
            n, c, h, w = shape
            layer.blobs.add(num=n, channels=c, height=h, width=w, data=value.reshape(-1))


@pytest.mark.parametrize("wrap", [True, False], ids=["v0", "v1"])
def test_weights_of_old_layouts_load(tmp_path, wrap):
    values = {
        name: [np.random.standard_normal(s).astype(np.float32) for s in shapes]
        for name, shapes in SHAPES.items()
    }
    stored = caffe_pb2.NetParameter(input=["x"])
    store(stored.layers, values, wrap)
    (tmp_path / "old.caffemodel").write_bytes(stored.SerializeToString())
    (tmp_path / "net.prototxt").write_text(MODERN)
    net = Net(tmp_path / "net.prototxt", caffe_pb2.TEST, weights=tmp_path / "old.caffemodel")
    for name, expected in values.items():
        for blob, value in zip(net.params[name], expected):
            np.testing.assert_array_equal(blob.data.reshape(-1), value.reshape(-1))
