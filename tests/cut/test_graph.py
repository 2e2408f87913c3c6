"""Nets as their prototxt says them: phases and rules, who makes a blob, who overwrites it."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.graph import NetGraph, batch_size_of, read_net, read_solver, set_batch_size
from dualnet.errors import ConfigError

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train_lmdb" batch_size: 64 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test_lmdb" batch_size: 50 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" }
layer { name: "accuracy" type: "Accuracy" bottom: "pool1" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool1" bottom: "label" top: "loss" }
"""


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def layer_of(text):
    return parsed("layer { name: 'it' %s }" % text).layer[0]  # noqa: UP031 (braces)


@pytest.fixture
def prototxt(tmp_path):
    def write(text):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return str(path)

    return write


def names(graph):
    return [layer.name for layer in graph.layers]


# Reading.


def test_net_and_solver_are_read(prototxt):
    assert read_net(prototxt(NET)).name == "small"
    assert read_solver(prototxt("base_lr: 0.5 net: 'a'")).base_lr == 0.5


def test_layers_of_2014_are_those_of_today(prototxt):
    net = read_net(
        prototxt(
            "layers { name: 'data' type: HDF5_DATA top: 'data' }\n"
            "layers { name: 'image' type: IMAGE_DATA top: 'a' image_data_param { crop_size: 3 } }\n"
            "layers { name: 'ip' type: INNER_PRODUCT bottom: 'data' top: 'ip' param: 'w' "
            "blobs_lr: 2 weight_decay: 0 inner_product_param { num_output: 3 } }\n"
        )
    )
    assert [layer.type for layer in net.layer] == ["HDF5Data", "ImageData", "InnerProduct"]
    assert net.layer[1].transform_param.crop_size == 3
    spec = net.layer[2].param[0]
    assert (spec.name, spec.lr_mult, spec.decay_mult) == ("w", 2, 0)
    assert net.layer[2].inner_product_param.num_output == 3 and not net.layers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer { name: 'a' typ: 'Data' }", [":1:19", "typ", "(net prototxt)"]),
        ("\n\nlayer {\n  name: 5\n}", [":4:9", "(net prototxt)"]),
        ("layers { layer { name: 'a' type: 'data' } }", ["of 2013", "upgrade_net_proto_text"]),
        ("name: 'empty'", ["no layer", "the solver?"]),
    ],
)
def test_mistakes_name_the_file_and_the_place(prototxt, text, expected):
    path = prototxt(text)
    with pytest.raises(ConfigError) as caught:
        read_net(path)
    message = str(caught.value)
    assert message.startswith(path) and "\n" not in message
    for part in expected:
        assert part in message


def test_config_in_the_place_of_a_net(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("# both pieces\nname: cifar10\n")
    with pytest.raises(ConfigError, match="this is a run.s YAML: give the net prototxt"):
        read_net(str(path))


def test_net_that_is_a_solver_and_the_other_way_round(prototxt):
    with pytest.raises(ConfigError, match="base_lr"):
        read_net(prototxt("base_lr: 0.1"))
    with pytest.raises(ConfigError, match=r"no field named .*solver prototxt"):
        read_solver(prototxt(NET))


@pytest.mark.parametrize("read", [read_net, read_solver])
def test_files_that_cannot_be_read(tmp_path, read):
    with pytest.raises(ConfigError, match="the working directory is"):
        read(str(tmp_path / "gone.prototxt"))
    with pytest.raises(ConfigError, match="cannot read"):
        read(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00layer")
    with pytest.raises(ConfigError, match="not text"):
        read(str(tmp_path / "binary"))


@pytest.mark.parametrize(
    "shapes",
    [
        "input_dim: [2, 3, 4, 5, 2, 1, 1, 1]",
        "input_shape { dim: [2, 3, 4, 5] } input_shape { dim: [2, 1, 1, 1] }",
    ],
)
def test_input_fields_become_an_input_layer(prototxt, shapes):
    rest = "layer { name: 'relu' type: 'ReLU' bottom: 'x' top: 'y' }"
    net = read_net(prototxt(f"input: 'x' input: 'label' {shapes} {rest}"))
    assert [layer.type for layer in net.layer] == ["Input", "ReLU"]
    assert list(net.layer[0].top) == ["x", "label"]
    dims = [list(shape.dim) for shape in net.layer[0].input_param.shape]
    assert dims == [[2, 3, 4, 5], [2, 1, 1, 1]]
    assert not net.input and not net.input_dim and not net.input_shape
    graph = NetGraph(net, "TEST", "deploy")
    assert graph.require_blob("label", "cut.labels").type == "Input"


# Phases and rules.


def test_each_phase_has_its_layers():
    net = parsed(NET)
    rest = ["conv1", "relu1", "pool1"]
    assert names(NetGraph(net, "TRAIN", "p")) == ["data", *rest, "loss"]
    assert names(NetGraph(net, "TEST", "p")) == ["data", *rest, "accuracy", "loss"]
    sizes = [batch_size_of(NetGraph(net, phase, "p").layers[0]) for phase in ("TRAIN", "TEST")]
    assert sizes == [64, 50]


@pytest.mark.parametrize(
    ("state", "rules", "included"),
    [
        ("", "", True),
        ("", "include { phase: TRAIN }", True),
        ("", "include { phase: TEST }", False),
        ("", "exclude { phase: TRAIN }", False),
        ("", "exclude { phase: TEST }", True),
        ("", "include { phase: TEST } include { phase: TRAIN }", True),
        ("", "include { phase: TRAIN stage: 'extra' }", False),
        ("stage: 'extra'", "include { phase: TRAIN stage: 'extra' }", True),
        ("stage: 'extra'", "include { stage: 'extra' stage: 'more' }", False),
        ("stage: 'extra' stage: 'more'", "include { stage: 'extra' stage: 'more' }", True),
        ("stage: 'extra'", "include { not_stage: 'extra' }", False),
        ("stage: 'extra'", "exclude { not_stage: 'more' }", False),
        ("level: 2", "include { min_level: 2 }", True),
        ("level: 2", "include { min_level: 3 }", False),
        ("level: 2", "include { max_level: 1 }", False),
        ("", "include { max_level: 0 }", True),
        ("", "exclude { min_level: 0 }", False),
    ],
)
def test_rules_are_caffes(state, rules, included):
    net = parsed(f"state {{ {state} }} layer {{ name: 'it' type: 'ReLU' {rules} }}")
    assert names(NetGraph(net, "TRAIN", "p")) == (["it"] if included else [])


def test_both_kinds_of_rules_in_a_layer():
    net = parsed("layer { name: 'it' include { phase: TEST } exclude { phase: TRAIN } }")
    with pytest.raises(ConfigError, match="net.prototxt: layer it has include and exclude"):
        NetGraph(net, "TRAIN", "net.prototxt")


# Who makes and who reads a blob.


def test_producers_and_consumers_in_order():
    graph = NetGraph(parsed(NET), "TRAIN", "p")
    assert [layer.name for layer in graph.producers["conv1"]] == ["conv1", "relu1"]
    assert [layer.name for layer in graph.consumers["conv1"]] == ["relu1", "pool1"]
    assert graph.require_blob("conv1", "cut.blobs").name == "conv1"
    assert graph.layer("pool1", "cut.dual").type == "Pooling"


def test_missing_layers_and_blobs_list_what_there_is():
    graph = NetGraph(parsed(NET), "TRAIN", "net.prototxt")
    with pytest.raises(ConfigError) as caught:
        graph.layer("conv9", "cut.dual")
    assert str(caught.value) == (
        "net.prototxt: no layer conv9 in phase TRAIN, which cut.dual names; "
        "its layers: data, conv1, relu1, pool1, loss"
    )
    with pytest.raises(ConfigError) as caught:
        graph.require_blob("accuracy", "cut.blobs")
    assert str(caught.value) == (
        "net.prototxt: no blob accuracy in phase TRAIN, which cut.blobs names; "
        "its blobs: data, label, conv1, pool1, loss"
    )


# Batch sizes.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("type: 'Data' data_param { batch_size: 7 }", 7),
        ("type: 'MemoryData' memory_data_param { batch_size: 7 channels: 1 }", 7),
        ("type: 'ImageData' image_data_param { batch_size: 7 }", 7),
        ("type: 'HDF5Data' hdf5_data_param { batch_size: 7 }", 7),
        ("type: 'Input' input_param { shape { dim: 7 dim: 3 } shape { dim: 7 } }", 7),
        ("type: 'Input' input_param { shape { } shape { dim: 7 } }", 7),
        ("type: 'Input'", None),
        ("type: 'ReLU'", None),
    ],
)
def test_batch_size_is_read_and_changed(text, size):
    layer = layer_of(text)
    assert batch_size_of(layer) == size
    before = layer.SerializeToString()
    set_batch_size(layer, 9)
    if size is None:
        assert layer.SerializeToString() == before
    else:
        assert batch_size_of(layer) == 9
        assert "7" not in text_format.MessageToString(layer)
        assert layer.name == "it"


def test_other_dimensions_stay():
    layer = layer_of("type: 'Input' input_param { shape { dim: 7 dim: 3 dim: 8 } }")
    set_batch_size(layer, 9)
    assert list(layer.input_param.shape[0].dim) == [9, 3, 8]


def test_a_field_of_a_fork_is_refused_with_the_forks_name(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("layer { pooling_param { torch_pooling: true } }")
    with pytest.raises(ConfigError, match=r"net.prototxt:1:25 : .* of NVIDIA \(NVIDIA/caffe\)"):
        read_net(str(path))
    path.write_text("layer { pooling_param { torch_poolin: true } }")
    with pytest.raises(ConfigError, match="net.prototxt:1:25 : .* Its fields are: .*kernel_size"):
        read_net(str(path))
