"""Gradients at net2's inputs: computed where they are needed, and asked of nobody else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from dualnet.backend import caffe, caffe_pb2
from dualnet.cut.graph import NetGraph
from dualnet.cut.input_gradient import ask_for, take_out
from dualnet.cut.split import Request, split, write
from tests.cut import both
from tests.cut.singles import write_single
from tests.training.changing import SOLVER

LAYERS = '''
import numpy as np
import caffe

class Data(caffe.Layer):
    def setup(self, bottom, top):
        top[0].reshape(4, 1, 6, 6)
        top[1].reshape(4, 1, 4, 4)
        self.random = np.random.RandomState(1)
    def reshape(self, bottom, top):
        pass
    def forward(self, bottom, top):
        top[0].data[...] = self.random.randn(4, 1, 6, 6)
        top[1].data[...] = self.random.rand(4, 1, 4, 4) > 0.5
    def backward(self, top, propagate_down, bottom):
        raise Exception("data have no gradient")


class Overlap(caffe.Layer):
    """A loss that refuses a gradient for its label."""
    def setup(self, bottom, top):
        top[0].reshape(1)
    def reshape(self, bottom, top):
        pass
    def forward(self, bottom, top):
        top[0].data[...] = ((bottom[0].data - bottom[1].data) ** 2).sum() / 2
    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            raise Exception("this loss has no gradient for its label")
        if propagate_down[0]:
            bottom[0].diff[...] = (bottom[0].data - bottom[1].data) * top[0].diff.flat[0]
'''


def conv(name, bottom, more=""):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {more} '
        "convolution_param { num_output: 1 kernel_size: 3 pad: 1 "
        'weight_filler { type: "xavier" } } }\n'
    )


def overlap(name, bottom, more=""):
    return (
        f'layer {{ name: "{name}" type: "Python" bottom: "{bottom}" bottom: "label" '
        f'top: "{name}" {more} python_param {{ module: "overlap_layers" layer: "Overlap" }} }}\n'
    )


DATA = (
    'layer { name: "data" type: "Python" top: "data" top: "label" '
    'python_param { module: "overlap_layers" layer: "Data" } }\n'
    'layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { '
    'num_output: 1 kernel_size: 3 weight_filler { type: "xavier" } } }\n'
)
#: Name to (net, cut, dual layers).
NETS = {
    # An auxiliary loss reads the cut blob, beside a dual layer that learns.
    "auxiliary": (
        DATA + overlap("side", "c1", "loss_weight: 0.3") + conv("c2", "c1")
        + overlap("loss", "c2", "loss_weight: 1"), "c1", "c2"),
    # The dual layer learns nothing, and so has Caffe no reason for a gradient of its output.
    "pooled": (
        DATA + 'layer { name: "p" type: "Pooling" bottom: "c1" top: "p" pooling_param { '
        "kernel_size: 3 stride: 1 pad: 1 pool: AVE } }\n" + conv("c2", "p")
        + overlap("loss", "c2", "loss_weight: 1"), "c1", "p"),
    # EuclideanLoss gives its label a gradient if it is asked; Silence and Accuracy have none.
    "others": (
        DATA + conv("c2", "c1")
        + 'layer { name: "side" type: "EuclideanLoss" bottom: "label" bottom: "c1" top: "side" }\n'
        + 'layer { name: "t" type: "Threshold" bottom: "c1" top: "t" }\n'
        + 'layer { name: "quiet" type: "Silence" bottom: "t" }\n'
        + overlap("loss", "c2", "loss_weight: 1"), "c1", "c2"),
    # The user wants no gradient from the auxiliary loss.
    "forbidden": (
        DATA + overlap("side", "c1", "loss_weight: 0.3 propagate_down: false propagate_down: false")
        + conv("c2", "c1")
        + 'layer { name: "sum" type: "Eltwise" bottom: "c1" bottom: "c2" top: "sum" }\n'
        + overlap("loss", "sum", "loss_weight: 1"), "c1", "c2"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "overlap_layers.py").write_text(LAYERS)
    sys.modules.pop("overlap_layers", None)
    yield str(tmp_path)
    sys.modules.pop("overlap_layers", None)


def cut_in_two(place, name):
    text, at, dual = NETS[name]
    request = Request(
        write_single(place, text, SOLVER), [([at], [dual])], os.path.join(place, "cut")
    )
    result = split(request)
    write(request, result)
    return result.yaml


@pytest.mark.parametrize("overrides", [(), ("coupling.fidelity_interval=1",)],
                         ids=["gradient", "meter"])  # fmt: skip
@pytest.mark.parametrize("name", NETS)
def test_pieces_of_users_losses_train_as_the_single_net(place, name, overrides):
    yaml = cut_in_two(place, name)
    assert "force_backward" not in Path(place, "cut", "net2_train_test.prototxt").read_text()
    outcome = both.train_whole_and_cut(yaml, "run", 6, *overrides, "update.learning_rate=0.01")
    assert outcome.step < 2e-3
    assert np.allclose(outcome.losses, outcome.dual_losses, rtol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_backprop_of_users_losses_is_the_single_net(place, name):
    yaml = cut_in_two(place, name)
    settings = ("coupling.target=backprop", "update.learning_rate=0.01")
    outcome = both.train_whole_and_cut(yaml, "run", 6, *settings)
    assert max(step for key, step in outcome.steps.items() if key != "net1 c2") < 1e-4


# What is put in, and taken out again.

NET2 = """
layer { name: "in" type: "Input" top: "p" top: "label" include { phase: TRAIN }
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "in" type: "Input" top: "p" top: "label" include { phase: TEST }
  input_param { shape { dim: 5 dim: 3 dim: 4 dim: 4 } shape { dim: 5 dim: 3 dim: 4 dim: 4 } } }
"""


def asked(text, compared, are_sent=False):
    """The net after ask_for, and its layers in phase TRAIN."""
    net = caffe_pb2.NetParameter()
    text_format.Parse(NET2 + text, net)
    graphs = [NetGraph(net, phase, "net2") for phase in ("TRAIN", "TEST")]
    changed = ask_for(net, *graphs, ["p"], compared, are_sent)
    return net, changed


def backward(net, blob):
    """|diff| of a blob after a pass of random numbers; its data; the labels' |diff|."""
    with open("net.prototxt", "w", encoding="utf-8") as file:
        file.write(text_format.MessageToString(net))
    made = caffe.Net("net.prototxt", caffe.TRAIN)
    for name in ("p", "label"):
        made.blobs[name].data[...] = np.random.randn(*made.blobs[name].shape)
    made.forward()
    made.backward()
    return float(np.abs(made.blobs[blob].diff).sum()), float(np.abs(made.blobs["label"].diff).sum())


CONV = conv("y", "p")
LOSS = 'layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "y2" top: "l" }\n'
ON_LABEL = conv("y2", "label")


def test_nothing_is_asked_where_the_dual_layer_learns():
    _, changed = asked(CONV + ON_LABEL + LOSS, ["y"])
    assert not changed


def test_a_reader_that_learns_is_asked_alone(place):
    net, changed = asked(CONV + ON_LABEL + LOSS, ["y"], are_sent=True)
    assert changed and len(net.layer) == 5 and list(net.layer[2].propagate_down) == [True]
    there, label = backward(net, "p")
    assert there > 0 and label == 0


SPLIT = 'layer { name: "s" type: "Split" bottom: "p" top: "y" }\n'
AGAINST_LABEL = LOSS.replace("y2", "label")


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        # Nothing that reads the input learns.
        (SPLIT + AGAINST_LABEL, "y"),
        # Weights that stand still learn nothing.
        (conv("y", "p", "param { lr_mult: 0 } param { lr_mult: 0 }") + ON_LABEL + LOSS, "y"),
        # One works in place, which is no way that leads to what is compared.
        ('layer { name: "r" type: "ReLU" bottom: "p" top: "p" }\n' + SPLIT + AGAINST_LABEL, "y"),
        # The input itself is compared.
        (AGAINST_LABEL.replace('"y"', '"p"'), "p"),
    ],
    ids=["split", "still", "in place", "itself"],
)
def test_the_gradient_is_there_and_no_labels(place, text, compared):
    net, changed = asked(text, [compared])
    assert changed
    there, label = backward(net, compared)
    assert there > 0 and label == 0
    assert [layer.name for layer in net.layer].count("p~gradient") == 2


@pytest.mark.parametrize("are_sent", [False, True], ids=["compared", "sent"])
def test_each_of_several_inputs_has_its_gradient(place, are_sent):
    """As the other branches of an Inception module, which cross beside the cut blob."""
    net = text_format.Parse(NET2.replace('"label"', '"q"'), caffe_pb2.NetParameter())
    splits = "".join(
        f'layer {{ name: "s{b}" type: "Split" bottom: "{b}" top: "{b}p" }}\n' for b in "pq"
    )
    loss = 'layer { name: "l" type: "EuclideanLoss" bottom: "pp" bottom: "qp" top: "l" }\n'
    text_format.Merge(splits + loss, net)
    graphs = [NetGraph(net, phase, "net2") for phase in ("TRAIN", "TEST")]
    compared = [] if are_sent else ["pp", "qp"]
    assert ask_for(net, *graphs, ["p", "q"], compared, are_sent)
    for phase in (caffe.TRAIN, caffe.TEST):
        with open("net.prototxt", "w", encoding="utf-8") as file:
            file.write(text_format.MessageToString(net))
        made = caffe.Net("net.prototxt", phase)
        for name in "pq":
            made.blobs[name].data[...] = np.random.randn(*made.blobs[name].shape)
        made.forward()
        made.backward()
        names = "pq" if are_sent else ("pp", "qp")
        assert all(np.abs(made.blobs[name].diff).sum() > 0 for name in names)


def test_what_was_put_in_is_taken_out_again():
    text = 'layer { name: "s" type: "Split" bottom: "p" top: "y" }\n' + ON_LABEL + LOSS
    net, _ = asked(text, ["y"])
    before = caffe_pb2.NetParameter()
    text_format.Parse(NET2 + text, before)
    assert net != before
    take_out(net)
    assert net == before


def test_layers_of_training_alone_leave_no_output_in_tests():
    only = "include { phase: TRAIN }"
    text = f'layer {{ name: "s" type: "Split" bottom: "p" top: "y" {only} }}\n'
    net, _ = asked(text + ON_LABEL + LOSS.replace("}", only + " }"), ["y"])
    assert [layer.name for layer in net.layer].count("p~gradient") == 1
    assert "p~gradient" not in NetGraph(net, "TEST", "net2").producers


def test_a_users_propagate_down_stays():
    text = 'layer { name: "s" type: "Split" bottom: "p" top: "y" propagate_down: false }\n'
    net, _ = asked(text + ON_LABEL + LOSS, ["y"], are_sent=True)
    (split_layer,) = [layer for layer in net.layer if layer.name == "s"]
    assert list(split_layer.propagate_down) == [False]
    (wanted,) = {tuple(layer.propagate_down) for layer in net.layer if "~" in layer.name}
    assert wanted == (True,)


def test_several_inputs_of_one_layer_are_led_through(place):
    text = (
        'layer { name: "s" type: "Split" bottom: "p" top: "y" }\n'
        'layer { name: "t" type: "Split" bottom: "label" top: "z" }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "z" top: "l" }\n'
    )
    net = caffe_pb2.NetParameter()
    text_format.Parse(NET2 + text, net)
    graphs = [NetGraph(net, phase, "net2") for phase in ("TRAIN", "TEST")]
    assert ask_for(net, *graphs, ["p", "label"], ["y", "z"], False)
    assert {layer.bottom[0] for layer in net.layer if layer.type == "Split"} == {
        "p~gradient",
        "label~gradient",
    }
    for blob in ("y", "z"):
        assert backward(net, blob)[0] > 0
