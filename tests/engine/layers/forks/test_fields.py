"""Fields that forks add to BVLC Caffe's own layers: Dropout's and SoftmaxWithLoss's."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.errors import PrototxtError
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe.net_spec import layers, params, to_proto
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST


def dropout(fields, phase, in_place=False):
    """A layer of ones, and its output and gradient for ones."""
    random.set_random_seed(7)
    text = f'type: "Dropout" dropout_param {{ dropout_ratio: 0.25 {fields} }}'
    x = np.ones((40, 50), np.float32)
    rig = make_layer(text, x, phase=phase, in_place=in_place)
    return rig.forward()[0], rig.backward(np.ones_like(x))[0]


@pytest.mark.parametrize("in_place", [False, True])
def test_dropout_scales_in_test_where_it_does_not_in_train(in_place):
    y, gradient = dropout("scale_train: false", TRAIN, in_place)
    assert set(np.unique(y)) == {0, 1} and 0.7 < y.mean() < 0.8
    np.testing.assert_array_equal(gradient, y)
    y, gradient = dropout("scale_train: false", TEST, in_place)
    assert (y == 0.75).all() and (gradient == 0.75).all()
    usual, _ = dropout("scale_train: true", TRAIN, in_place)
    np.testing.assert_array_equal(usual, dropout("", TRAIN)[0])


@pytest.mark.parametrize("in_place", [False, True])
def test_dropout_draws_in_test_for_bayesian_segnet(in_place):
    y, gradient = dropout("sample_weights_test: true", TEST, in_place)
    np.testing.assert_array_equal(y, dropout("", TRAIN)[0])
    np.testing.assert_array_equal(gradient, y)
    assert (dropout("sample_weights_test: false", TEST)[0] == 1).all()


WEIGHTS = [0.5, 2.0, 0.0, 1.5, 3.0]
FIELDS = "weight_by_label_freqs: true " + " ".join(f"class_weighting: {w}" for w in WEIGHTS)


@pytest.mark.parametrize("ignore", [None, 3])
def test_class_weights_of_segnet(ignore):
    x = np.random.randn(2, 5, 3, 2).astype(np.float32)
    labels = np.random.randint(0, 5, (2, 1, 3, 2)).astype(np.float32)
    more = "" if ignore is None else f"ignore_label: {ignore}"
    rig = make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {FIELDS} {more} }}', x, labels)
    wide = np.exp(x.astype(np.float64))
    picked = np.take_along_axis(wide / wide.sum(1, keepdims=True), labels.astype(int), 1)
    weights = np.array(WEIGHTS)[labels.astype(int)]
    counted = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    expected = -(np.log(picked) * weights)[counted].sum() / counted.sum()
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_class_weights_must_be_one_a_class():
    x, labels = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
    with pytest.raises(PrototxtError, match="there are 5 for the 4 of predictions"):
        make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {FIELDS} }}', x, labels)
    without = make_layer('type: "SoftmaxWithLoss" loss_param { class_weighting: 9 }', x, labels)
    np.testing.assert_allclose(without.forward()[0], np.log(4), rtol=1e-6)  # not asked for


def test_each_message_belongs_to_one_field():
    """NetSpec finds a layer's message by its type: a second field of one type would hide it."""
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields
    kinds = [f.message_type.name for f in fields if f.name.endswith("_param")]
    assert sorted(kinds) == sorted(set(kinds))


def test_net_spec_knows_the_forks_messages():
    x = layers.Input(input_param={"shape": {"dim": [1, 4, 5, 5]}})
    tops = [
        layers.ReLU(x, negative_slope=0.5),
        layers.ReLU6(x, negative_slope=0.25),
        layers.ConvolutionDepthwise(x, kernel_size=3),
        layers.Permute(x, order=[0, 2]),
        layers.Pooling(x, pool=params.Pooling.MAX, kernel_size=2, ceil_mode=False),
    ]
    found = {layer.type: layer for layer in to_proto(*tops).layer}
    assert found["ReLU"].relu_param.negative_slope == 0.5
    assert found["ReLU6"].relu6_param.negative_slope == 0.25
    assert list(found["ConvolutionDepthwise"].convolution_param.kernel_size) == [3]
    assert list(found["Permute"].permute_param.order) == [0, 2]
    assert found["Pooling"].pooling_param.ceil_mode is False
