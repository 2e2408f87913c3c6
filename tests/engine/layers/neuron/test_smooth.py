"""BNLL, ELU, PReLU, Swish."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def values(*shape):
    """Normal values that keep off 0, where some of these functions bend."""
    x = np.random.randn(*shape)
    return (x + 0.1 * np.sign(x)).astype(np.float32)


FUNCTIONS = {
    'type: "BNLL"': lambda x: np.log1p(np.exp(x)),
    'type: "ELU" elu_param { alpha: 0.3 }': lambda x: np.where(x > 0, x, 0.3 * np.expm1(x)),
    'type: "PReLU" prelu_param { channel_shared: true }': lambda x: np.where(x > 0, x, 0.25 * x),
    'type: "Swish" swish_param { beta: 1.5 }': lambda x: x * sigmoid(1.5 * x),
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_values_and_gradients(text):
    x = values(2, 3, 4)
    rig = make_layer(text, x)
    expected = FUNCTIONS[text](x.astype(float))
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5, atol=1e-7)
    check_gradients(rig)


@pytest.mark.parametrize("text", FUNCTIONS)
def test_in_place_gives_the_same(text):
    x, g = values(2, 3, 4), values(2, 3, 4)
    apart, inside = make_layer(text, x), make_layer(text, x, in_place=True)
    np.testing.assert_array_equal(apart.forward()[0], inside.forward()[0])
    np.testing.assert_array_equal(apart.backward(g)[0], inside.backward(g)[0])
    for ours, theirs in zip(apart.layer.blobs, inside.layer.blobs):
        np.testing.assert_array_equal(ours.diff, theirs.diff)


def test_large_values_do_not_overflow():
    x = np.array([[-200, 200]], np.float32)
    rig = make_layer('type: "BNLL"', x)
    np.testing.assert_array_equal(rig.forward()[0], [[0, 200]])
    np.testing.assert_array_equal(rig.backward(np.ones_like(x))[0], [[0, 1]])
    for text in ('type: "ELU"', 'type: "Swish"'):
        assert np.isfinite(make_layer(text, x).forward()[0]).all()


def test_prelu_has_a_slope_a_channel():
    x = values(2, 3, 4)
    rig = make_layer('type: "PReLU"', x)
    assert rig.layer.blobs[0].dims == (3,)
    np.testing.assert_array_equal(rig.layer.blobs[0].data, np.full(3, 0.25, np.float32))
    rig.layer.blobs[0].data[...] = slopes = np.array([0.5, -2, 0], np.float32)
    expected = np.where(x > 0, x, x * slopes[:, None])
    np.testing.assert_array_equal(rig.forward()[0], expected)
    g = values(2, 3, 4)
    rig.backward(g)
    expected = (g * np.minimum(x, 0)).sum(axis=(0, 2))
    np.testing.assert_allclose(rig.layer.blobs[0].diff, expected, rtol=1e-5)
    rig.backward(g)  # parameters' gradients add up
    np.testing.assert_allclose(rig.layer.blobs[0].diff, 2 * expected, rtol=1e-5)
    check_gradients(rig)


def test_prelu_shares_one_scalar_slope():
    text = 'type: "PReLU" prelu_param { channel_shared: true filler { value: 0.1 } }'
    rig = make_layer(text, values(2, 3))
    assert rig.layer.blobs[0].dims == () and rig.layer.blobs[0].data == np.float32(0.1)


def test_prelu_checks_its_channels():
    with pytest.raises(ShapeError, match=r"'layer': PReLU needs 2 or more axes.*\(5,\)"):
        make_layer('type: "PReLU"', values(5))
    rig = make_layer('type: "PReLU"', values(2, 3))
    rig.bottom[0].reshape(2, 4)
    with pytest.raises(ShapeError, match=r"3 slopes.*\(2, 4\)"):
        rig.forward()
