"""Deploy nets: what stays, what goes, and what a person finds in them."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.deploy import deploy_net, input_shapes
from dualnet.errors import ConfigError

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "relu1" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "side" type: "InnerProduct" bottom: "fc1" top: "side" }
layer { name: "side_loss" type: "SoftmaxWithLoss" bottom: "side" bottom: "label" top: "side_loss" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "LOSS" bottom: "fc2" bottom: "label" top: "loss" }
"""


def deploy(loss="SoftmaxWithLoss", net=NET):
    parsed = text_format.Parse(net.replace("LOSS", loss), caffe_pb2.NetParameter())
    return deploy_net(parsed, ["label"], {"data": [1, 3, 5, 5]})


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        ("SoftmaxWithLoss", ("prob", "Softmax")),
        ("SigmoidCrossEntropyLoss", ("prob", "Sigmoid")),
        ("EuclideanLoss", ("fc2", "InnerProduct")),  # the scores are the prediction
    ],
)
def test_images_in_predictions_out(loss, last):
    net = deploy(loss)
    # The side branch only served its loss.
    assert [layer.name for layer in net.layer][:4] == ["data", "fc1", "relu1", "fc2"]
    assert (net.layer[-1].name, net.layer[-1].type) == last
    assert net.layer[0].type == "Input"
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3, 5, 5]


def test_fillers_and_phases_go():
    net = deploy(net=NET.replace('bottom: "data" top: "fc1"', 'bottom: "data" top: "fc1" '
                                 "include { phase: TEST }"))  # fmt: skip
    assert not any(layer.include for layer in net.layer)
    assert net.layer[1].inner_product_param == caffe_pb2.InnerProductParameter(num_output=4)


def test_the_losss_axis_is_the_predictions():
    net = deploy(net=NET.replace('top: "loss"', 'top: "loss" softmax_param { axis: 2 }'))
    assert net.layer[-1].softmax_param.axis == 2


def test_a_taken_name_is_left_alone():
    net = deploy(net=NET.replace('"fc2"', '"prob"'))
    assert [layer.name for layer in net.layer][-2:] == ["prob", "prob_"]


def test_a_net_without_loss_stays_whole():
    net = text_format.Parse(NET.partition('layer { name: "side_loss"')[0], caffe_pb2.NetParameter())
    names = [layer.name for layer in deploy_net(net, ["label"], {"data": [1, 2]}).layer]
    assert names == ["data", "fc1", "relu1", "side"]


def test_the_data_set_says_the_shape(workdir):
    path = "prototxt/digits/net1_train_test.prototxt"
    assert input_shapes(path, ["label"]) == {"data": [1, 1, 8, 8]}


def test_a_missing_data_set_is_named(workdir):
    (workdir / "data" / "digits").unlink()
    with pytest.raises(ConfigError, match="data/digits/test_lmdb, which layer data reads, is not"):
        input_shapes("prototxt/digits/net1_train_test.prototxt", ["label"])
