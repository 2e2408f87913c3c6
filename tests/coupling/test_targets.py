"""The targets against their formulas, with a net2 that is a few arrays."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.config import Coupling
from dualnet.config.targets import TARGETS
from dualnet.coupling import default_loss_weight, make_target


class ArrayNet:
    """y = 2 p before the update and 3 p after it."""

    def __init__(self):
        self.p = np.random.randn(4, 2, 3, 3).astype(np.float32)
        self.y = 2 * self.p
        self.dy = np.random.randn(*self.p.shape).astype(np.float32)
        self.passes = []

    def data(self, blob):
        assert blob == "conv3p"
        return self.y

    def diff(self, blob):
        assert blob == "conv3p"
        return self.dy

    def run(self, layers):
        self.passes.append(layers)
        self.y[...] = 3 * self.p
        return 0.0


def make(name, net, **settings):
    """What comes down as conv3p."""
    target = make_target(
        Coupling(target=name, **settings), {"conv3p": "conv3p"}, ["conv3p", "norm3p"]
    )
    return target.make(net)["conv3p"]


def test_activation_is_the_output_of_the_forward_pass():
    net = ArrayNet()
    np.testing.assert_array_equal(make("activation", net), 2 * net.p)
    assert not net.passes


def test_updated_recomputes_the_dual_layers_after_the_update():
    net = ArrayNet()
    assert TARGETS["updated"].answers_late
    np.testing.assert_array_equal(make("updated", net), 3 * net.p)
    assert net.passes == [["conv3p", "norm3p"]]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1000.0])
def test_gradient_descends_by_gamma_per_sample(gamma):
    net = ArrayNet()
    assert not TARGETS["gradient"].answers_late
    expected = net.y - gamma * 4 * net.dy  # N = 4 turns dL/dy into the per-sample gradient
    np.testing.assert_allclose(make("gradient", net, gamma=gamma), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 1000.0])
def test_gradient_target_under_its_loss_is_the_back_propagated_gradient(gamma):
    net = ArrayNet()
    target = make("gradient", net, gamma=gamma)
    x = net.y  # conv3 equals conv3p
    euclidean_gradient = (x - target) / len(x)  # Caffe's EuclideanLoss, sum d^2 / 2N
    np.testing.assert_allclose(euclidean_gradient / gamma, net.dy, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_gradient_target_under_the_relative_loss_is_the_back_propagated_gradient(gamma):
    net = ArrayNet()
    coupling = Coupling(target="gradient", loss="relative", gamma=gamma)
    z = make("gradient", net, loss="relative", gamma=gamma)
    x = net.y
    relative_gradient = (x - z) / np.vdot(x, x)  # sum d^2 / 2 sum x^2, the norm held constant
    weight = default_loss_weight(coupling)
    np.testing.assert_allclose(weight * relative_gradient, net.dy, rtol=1e-3, atol=1e-5)


def test_values_are_float32():
    for name in ("activation", "updated", "gradient"):
        assert make(name, ArrayNet()).dtype == np.float32
