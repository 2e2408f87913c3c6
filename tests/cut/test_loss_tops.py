"""Losses that a prototxt gives no top."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet import config
from dualnet.backend import caffe_pb2
from dualnet.cut.loss_tops import name_loss_tops
from dualnet.rundir import RunDir
from dualnet.training.outcome.evaluate import evaluate
from tests.cut.both import train_pieces
from tests.cut.singles import cut_in_two
from tests.cut.split.topologies import OF_2014


def named(text):
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    name_loss_tops(net, "net.prototxt", {})
    return [list(layer.top) for layer in net.layer]


@pytest.mark.parametrize(
    ("text", "tops"),
    [
        ("layer { name: 'a' type: 'SoftmaxWithLoss' } layer { type: 'HingeLoss' }",
         [["a"], ["loss"]]),
        # A blob of that name; two layers of one name, in one phase and in one each.
        ("layer { name: 'in' type: 'Input' top: 'a' } layer { name: 'a' type: 'HingeLoss' }",
         [["a"], ["a_"]]),
        ("layer { name: 'a' type: 'HingeLoss' } layer { name: 'a' type: 'HingeLoss' }",
         [["a"], ["a_"]]),
        ("layer { name: 'a' type: 'HingeLoss' include { phase: TRAIN } } "
         "layer { name: 'a' type: 'HingeLoss' include { phase: TEST } }", [["a"], ["a"]]),
        # Caffe makes no top for these.
        ("layer { name: 's' type: 'Silence' } layer { name: 'p' type: 'Python' }", [[], []]),
        ("layer { name: 'a' type: 'HingeLoss' top: 'b' }", [["b"]]),
    ],
)  # fmt: skip
def test_tops(text, tops):
    assert named(text) == tops


def test_evaluation_knows_the_loss(workdir):
    yaml, _, _ = cut_in_two("nets", OF_2014, "conv1", "ip")
    settings = ["train.max_iter=2", "train.snapshot=2", "train.display=1"]
    train_pieces(yaml, "run", *settings)
    result = evaluate(RunDir("run"), config.load(yaml), batches=2)
    assert 0 < result["loss"] < 20
    assert 0 <= result["accuracy"] <= 1 and result["samples"] == 120
