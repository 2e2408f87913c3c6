"""The Python loss layers, in real nets of whichever provider is there."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe

NET = """
force_backward: true
layer {{ name: "in" type: "Input" top: "a" top: "b"
  input_param {{ shape {{ dim: 3 dim: 2 dim: 2 dim: 2 }}
                shape {{ dim: 3 dim: 2 dim: 2 dim: 2 }} }} }}
layer {{ name: "loss" type: "Python" bottom: "a" bottom: "b" top: "loss" loss_weight: {weight}
  python_param {{ module: "dualnet.layers" layer: "{layer}" param_str: "{param}" }} }}
"""
WEIGHT = 0.5


def listing(a, b):
    return np.sqrt(((a - b) ** 2).sum()) / len(a) / 2


def normalized(a, b):
    return ((a - b) ** 2).sum() / (2 * len(a) * ((a**2).sum() + (b**2).sum()))


CASES = [
    ("EuclideanLossLayer", "", listing),
    ("NormalizedEuclideanLossLayer", "", normalized),
    ("NormalizedEuclideanLossLayer", "norms: through", normalized),
]


@pytest.fixture
def make_net(tmp_path):
    def make(layer, param, weight=WEIGHT):
        path = tmp_path / "net.prototxt"
        path.write_text(NET.format(layer=layer, param=param, weight=weight))
        return caffe.Net(str(path), caffe.TRAIN)

    return make


def run(net, a, b):
    net.blobs["a"].data[...] = a
    net.blobs["b"].data[...] = b
    loss = net._forward(0, len(net.layers) - 1)
    net._backward(len(net.layers) - 1, 0)
    return loss, net.blobs["a"].diff.copy(), net.blobs["b"].diff.copy()


def numerical_gradient(function, values, step=1e-5):
    gradient = np.zeros_like(values)
    for i in np.ndindex(values.shape):
        moved = values.copy()
        moved[i] += step
        gradient[i] = function(moved)
        moved[i] -= 2 * step
        gradient[i] = (gradient[i] - function(moved)) / (2 * step)
    return gradient


@pytest.mark.parametrize(("layer", "param", "formula"), CASES)
def test_loss_and_both_gradients(make_net, layer, param, formula):
    a, b = np.random.randn(2, 3, 2, 2, 2)
    loss, diff_a, diff_b = run(make_net(layer, param), a, b)
    assert loss == pytest.approx(WEIGHT * formula(a, b), rel=1e-5)
    expected_a = WEIGHT * numerical_gradient(lambda v: formula(v, b), a)
    expected_b = WEIGHT * numerical_gradient(lambda v: formula(a, v), b)
    np.testing.assert_allclose(diff_a, expected_a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(diff_b, expected_b, rtol=1e-4, atol=1e-6)


def test_constant_norms_keep_the_euclidean_direction(make_net):
    a, b = np.random.randn(2, 3, 2, 2, 2)
    loss, diff_a, diff_b = run(make_net("NormalizedEuclideanLossLayer", "norms: constant"), a, b)
    assert loss == pytest.approx(WEIGHT * normalized(a, b), rel=1e-5)
    squares = (a**2).sum() + (b**2).sum()
    np.testing.assert_allclose(diff_a, WEIGHT * (a - b) / (3 * squares), rtol=1e-4)
    np.testing.assert_allclose(diff_b, -diff_a, rtol=1e-6)


def test_normalized_gradient_through_the_norms_shrinks_neither_output(make_net):
    # Scaling both outputs together leaves (10.3) unchanged, so its gradient along them is zero.
    a, b = np.random.randn(2, 3, 2, 2, 2)
    _, diff_a, diff_b = run(make_net("NormalizedEuclideanLossLayer", ""), a, b)
    assert abs((diff_a * a).sum() + (diff_b * b).sum()) < 1e-6


@pytest.mark.parametrize(("layer", "param", "formula"), CASES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_inputs_give_zero_and_no_nan(make_net, layer, param, formula, value):
    same = np.full((3, 2, 2, 2), value)
    loss, diff_a, diff_b = run(make_net(layer, param), same, same)
    assert loss == 0
    assert not diff_a.any() and not diff_b.any()


def test_without_loss_weight_nothing_flows(make_net):
    # The thesis's frozen net1 (section 10.4).
    a, b = np.random.randn(2, 3, 2, 2, 2)
    loss, diff_a, _ = run(make_net("EuclideanLossLayer", "", weight=0), a, b)
    assert loss == 0 and not diff_a.any()
