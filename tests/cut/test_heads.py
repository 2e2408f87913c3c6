"""What counts as a prediction, as a label and as data."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.graph import NetGraph
from dualnet.cut.heads import Head, find_heads

TRUNK = """
layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" }
"""


def layer(name, kind, bottoms, tops="", more=""):
    words = [f'bottom: "{blob}"' for blob in bottoms.split()]
    words += [f'top: "{blob}"' for blob in (tops or name).split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(words)} {more} }}\n'


def heads(text, trunk=TRUNK):
    """The heads of a net whose InnerProduct layers hold two parameters each."""
    net = text_format.Parse(trunk + text, caffe_pb2.NetParameter())
    stored = {one.name: 2 for one in net.layer if one.type == "InnerProduct"}
    graphs = (NetGraph(net, phase, "net") for phase in ("TEST", "TRAIN"))
    return find_heads(*(graph.layers for graph in graphs), stored)


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("SoftmaxWithLoss", "Softmax"),
        ("InfogainLoss", "Softmax"),
        ("SigmoidCrossEntropyLoss", "Sigmoid"),
        ("HingeLoss", ""),
        ("MultinomialLogisticLoss", ""),
        ("EuclideanLoss", ""),
        ("SmoothL1Loss", ""),
        ("Accuracy", ""),
    ],
)
def test_each_loss_has_its_prediction(loss, kind):
    assert heads(layer("loss", loss, "fc2 label")) == [Head("fc2", kind)]


def test_every_loss_is_a_head_in_the_nets_order():
    text = layer("late", "SoftmaxWithLoss", "fc2 label") + layer(
        "early", "EuclideanLoss", "fc1 label", more="loss_weight: 0.3"
    )
    assert heads(text) == [Head("fc1"), Head("fc2", "Softmax")]


def test_both_features_of_a_contrastive_loss():
    assert heads(layer("loss", "ContrastiveLoss", "fc1 fc2 label")) == [Head("fc1"), Head("fc2")]


@pytest.mark.parametrize("bottoms", ["fc2 data", "data fc2"])
def test_weights_tell_what_a_distance_predicts(bottoms):
    assert heads(layer("loss", "EuclideanLoss", bottoms)) == [Head("fc2")]


def test_both_sides_of_a_distance_may_be_predictions():
    assert heads(layer("loss", "EuclideanLoss", "fc1 fc2")) == [Head("fc1"), Head("fc2")]


def test_weights_that_stand_still_make_no_prediction_of_a_label():
    fixed = layer(
        "edges", "InnerProduct", "label", more="param { lr_mult: 0 } param { lr_mult: 0 }"
    )
    assert heads(fixed + layer("loss", "EuclideanLoss", "fc2 edges")) == [Head("fc2")]


def test_a_python_layer_with_a_weight_is_a_loss():
    text = layer("mine", "Python", "label fc2", more="loss_weight: 1")
    assert heads(text) == [Head("fc2")]


def test_a_python_layer_that_measures_is_none_of_the_predictions():
    text = layer("loss", "SoftmaxWithLoss", "fc2 label")
    assert heads(text + layer("dice", "Python", "fc2 label")) == [Head("fc2", "Softmax")]
    assert heads(text + layer("dice", "Python", "fc1 label")) == [
        Head("fc1"), Head("fc2", "Softmax")
    ]  # fmt: skip


def test_labels_go_through_label_layers():
    text = layer("parts", "Slice", "label", "one two") + layer("flat", "Reshape", "two")
    text += layer("a", "SoftmaxWithLoss", "fc1 one") + layer("b", "SoftmaxWithLoss", "fc2 flat")
    assert heads(text) == [Head("fc1", "Softmax"), Head("fc2", "Softmax")]


def test_what_nothing_reads_is_a_prediction_beside_the_losses():
    text = layer("loss", "SoftmaxWithLoss", "fc2 label") + layer("features", "ReLU", "fc1")
    assert heads(text) == [Head("fc2", "Softmax"), Head("features")]
    # But for what is silenced, and what needs a label.
    quiet = 'layer { name: "quiet" type: "Silence" bottom: "features" }'
    assert heads(text + quiet) == [Head("fc2", "Softmax")]
    assert heads(text + layer("odd", "ReLU", "label")) == heads(text)


def test_a_loss_in_training_tells_what_a_test_scores():
    text = layer("loss", "SoftmaxWithLoss", "fc2 label", more="include { phase: TRAIN }")
    text += layer("accuracy", "Accuracy", "fc2 label", more="include { phase: TEST }")
    assert heads(text) == [Head("fc2", "Softmax")]


def test_heads_of_training_alone_are_not_there():
    only = "include { phase: TRAIN }"
    text = layer("aux", "InnerProduct", "fc1", more=only)
    text += layer("aux_loss", "SoftmaxWithLoss", "aux label", more=only)
    assert heads(text + layer("loss", "SoftmaxWithLoss", "fc2 label")) == [Head("fc2", "Softmax")]


def test_predictions_that_are_made_already_are_taken():
    loss = layer("loss", "SoftmaxWithLoss", "fc2 label", more="include { phase: TRAIN }")
    made = layer("prob", "Softmax", "fc2") + layer("accuracy", "Accuracy", "prob label")
    assert heads(loss + made) == [Head("prob")]
    # Of another axis they are others.
    other = made.replace('"Softmax"', '"Softmax" softmax_param { axis: 2 }')
    assert heads(loss + other) == [Head("fc2", "Softmax"), Head("prob")]


def test_a_losss_own_predictions_are_taken():
    text = layer("loss", "SoftmaxWithLoss", "fc2 label", "loss prob", "softmax_param { axis: 2 }")
    assert heads(text) == [Head("prob")]


@pytest.mark.parametrize(
    ("loss", "param"),
    [("SoftmaxWithLoss", "softmax_param"), ("InfogainLoss", "infogain_loss_param")],
)
def test_the_losss_axis_is_the_heads(loss, param):
    text = layer("loss", loss, "fc2 label", more=f"{param} {{ axis: 2 }}")
    assert heads(text) == [Head("fc2", "Softmax", 2)]


def test_without_losses_and_weights_what_nothing_reads_is_left():
    text = layer("a", "ReLU", "data") + layer("b", "ReLU", "a") + layer("c", "ReLU", "a")
    trunk = TRUNK.partition('layer { name: "fc1"')[0]
    assert heads(text, trunk) == [Head("b"), Head("c")]
