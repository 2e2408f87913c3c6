"""Deploy nets: what stays, what goes, and what a person finds in them."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.deploy import deploy_net
from dualnet.cut.graph import NetGraph
from dualnet.cut.heads import find_heads

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
ONE = NET[: NET.index('layer { name: "side"')] + NET[NET.index('layer { name: "fc2"') :]


def deploy(net=ONE, loss="SoftmaxWithLoss", stored=("fc1", "fc2", "side"), **shapes):
    net = text_format.Parse(net.replace("LOSS", loss), caffe_pb2.NetParameter())
    test, train = (NetGraph(net, phase, "net").layers for phase in ("TEST", "TRAIN"))
    heads = find_heads(test, train, dict.fromkeys(stored, 2))
    known = {"data": [20, 3, 5, 5], "fc1": [20, 4], "fc2": [20, 4], "side": [20, 4]}
    return deploy_net(net.name, test, heads, {**known, **shapes}, stored)


def summary(made):
    """Each layer as NAME: TYPE BOTTOMS."""
    return [" ".join([f"{i.name}: {i.type}", *i.bottom]) for i in made.net.layer]


def shape(made, name="data"):
    return list(next(i for i in made.net.layer if i.name == name).input_param.shape[0].dim)


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        ("SoftmaxWithLoss", "prob: Softmax fc2"),
        ("SigmoidCrossEntropyLoss", "prob: Sigmoid fc2"),
        ("EuclideanLoss", "fc2: InnerProduct fc1"),  # the scores are the prediction
    ],
)
def test_images_in_predictions_out(loss, last):
    made = deploy(loss=loss)
    assert summary(made)[:4] == [
        "data: Input", "fc1: InnerProduct data", "relu1: ReLU fc1", "fc2: InnerProduct fc1"
    ]  # fmt: skip
    assert summary(made)[-1] == last
    assert shape(made) == [1, 3, 5, 5]
    assert made.inputs == ["data"] and list(made.predictions) == [last.partition(":")[0]]


def test_every_head_stays():
    assert summary(deploy(NET))[3:] == [
        "side: InnerProduct fc1",
        "fc2: InnerProduct fc1",
        "side_prob: Softmax side",
        "fc2_prob: Softmax fc2",
    ]


def test_fillers_and_phases_go():
    made = deploy(ONE.replace('bottom: "data" top: "fc1"', 'bottom: "data" top: "fc1" '
                              "include { phase: TEST }"))  # fmt: skip
    assert not any(layer.include for layer in made.net.layer)
    assert made.net.layer[1].inner_product_param == caffe_pb2.InnerProductParameter(num_output=4)


def test_fillers_of_weights_that_no_caffemodel_holds_stay():
    text = ONE.replace('top: "fc1" inner', 'top: "fc1" include { phase: TEST } inner')
    made = deploy(text, stored=("fc2",))
    assert made.net.layer[1].inner_product_param.weight_filler.type == "xavier"


def test_the_losss_axis_is_the_predictions():
    made = deploy(ONE.replace('top: "loss"', 'top: "loss" softmax_param { axis: 2 }'))
    assert made.net.layer[-1].softmax_param.axis == 2


def test_a_taken_name_is_left_alone():
    made = deploy(ONE.replace('"fc2"', '"prob"'), stored=("fc1", "prob"))
    assert [layer.name for layer in made.net.layer][-2:] == ["prob", "prob_"]


def test_a_net_without_loss_stays_whole():
    made = deploy(NET.partition('layer { name: "side_loss"')[0])
    assert [layer.name for layer in made.net.layer] == ["data", "fc1", "relu1", "side"]


MORE = 'layer { name: "more" type: "%s" top: "%s" %s }\n'
#: What a prediction reads beside the images.
TIMES = 'layer { name: "masked" type: "Eltwise" bottom: "fc2" bottom: "%s" top: "masked" }\n'


def masked(source, mask="mask"):
    head, loss, tail = ONE.rpartition('layer { name: "loss"')
    head, accuracy, rest = head.partition('layer { name: "accuracy"')
    assert accuracy and loss
    return source + head + TIMES % mask + loss + tail.replace('"fc2"', '"masked"')


def test_data_that_cross_like_labels_are_inputs():
    made = deploy(masked(MORE % ("HDF5Data", "mask", "")), mask=[20, 4], masked=[20, 4])
    assert summary(made)[:2] == ["mask: Input", "data: Input"]
    assert shape(made, "mask") == [1, 4]
    assert made.inputs == ["mask", "data"]


def test_a_label_that_a_prediction_needs_is_an_input():
    made = deploy(masked("", "label"), label=[20, 4], masked=[20, 4])
    assert summary(made)[:2] == ["data: Input", "label: Input"]


def test_constants_stay_as_they_are_made():
    filler = (
        'dummy_data_param { data_filler { type: "constant" value: 2 } shape { dim: 20 dim: 4 } }'
    )
    made = deploy(masked(MORE % ("DummyData", "mask", filler)), mask=[20, 4], masked=[20, 4])
    assert summary(made)[:2] == ["mask: DummyData", "data: Input"]
    assert made.net.layer[0].dummy_data_param.data_filler[0].value == 2
    # They are of the data layers' batch, so that the images are, too.
    assert shape(made) == [20, 3, 5, 5] and not made.is_single


def test_constants_of_the_old_fields_stay_too():
    filler = "dummy_data_param { num: 20 channels: 4 height: 1 width: 1 }"
    made = deploy(masked(MORE % ("DummyData", "mask", filler)), mask=[20, 4, 1, 1], masked=[20, 4])
    assert list(made.net.layer[0].dummy_data_param.shape[0].dim) == [20, 4, 1, 1]


def test_random_dummies_stand_for_data():
    filler = 'dummy_data_param { data_filler { type: "gaussian" } shape { dim: 20 dim: 4 } }'
    made = deploy(masked(MORE % ("DummyData", "mask", filler)), mask=[20, 4], masked=[20, 4])
    assert summary(made)[0] == "mask: Input"


def test_parameters_without_bottoms_stay():
    more = "parameter_param { shape { dim: 4 } }"
    made = deploy(masked(MORE % ("Parameter", "mask", more)), stored=("fc1", "fc2", "more"))
    assert summary(made)[:2] == ["data: Input", "more: Parameter"]


def test_an_input_leaves_other_layers_their_names():
    text = ONE.replace('name: "data"', 'name: "source"').replace('name: "fc1"', 'name: "data"')
    made = deploy(text, stored=("data", "fc2"))
    assert summary(made)[:2] == ["data_: Input", "data: InnerProduct data"]


@pytest.mark.parametrize(
    "bound",
    [
        'type: "LSTM" recurrent_param { num_output: 4 }',
        'type: "Python"',
        'type: "Reshape" reshape_param { shape { dim: 20 dim: 4 } }',
        'type: "Slice" slice_param { axis: 0 }',
        'type: "Concat" concat_param { concat_dim: 0 }',
        'type: "Reduction"',
        'type: "Scale" scale_param { axis: 0 }',
    ],
)
def test_layers_that_count_the_batch_keep_its_size(bound):
    text = ONE.replace('type: "ReLU" bottom: "fc1" top: "fc1"', f'{bound} bottom: "fc1" top: "fc1"')
    assert shape(deploy(text)) == [20, 3, 5, 5]


@pytest.mark.parametrize(
    "free",
    [
        'type: "Reshape" reshape_param { shape { dim: 0 dim: 4 } }',
        'type: "Reshape" reshape_param { axis: 1 shape { dim: 4 } }',
        'type: "Reduction" reduction_param { axis: 1 }',
        'type: "Scale" bottom: "data" scale_param { axis: 0 }',
    ],
)
def test_layers_that_do_not_count_it_take_one_sample(free):
    text = ONE.replace('type: "ReLU" bottom: "fc1" top: "fc1"', f'{free} bottom: "fc1" top: "fc1"')
    assert shape(deploy(text)) == [1, 3, 5, 5]


def test_predictions_of_another_number_keep_the_batch():
    assert shape(deploy(fc2=[60, 4])) == [20, 3, 5, 5]
