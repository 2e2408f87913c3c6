"""Reduction and ArgMax against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("SUM", lambda x: x.sum(-1)),
        ("ASUM", lambda x: np.abs(x).sum(-1)),
        ("SUMSQ", lambda x: (x * x).sum(-1)),
        ("MEAN", lambda x: x.mean(-1)),
    ],
)
def test_reduction(operation, function, axis):
    x = normal(2, 3, 4)
    x[np.abs(x) < 0.05] = 0.5  # away from the kink of the magnitude
    text = f"operation: {operation} axis: {axis} coeff: -1.5"
    rig = make_layer(f'type: "Reduction" reduction_param {{ {text} }}', x)
    shape = x.shape[: axis % 3]
    expected = -1.5 * function(x.astype(np.float64).reshape(*shape, -1))
    top = rig.forward()[0]
    assert top.shape == shape
    np.testing.assert_allclose(top, expected, rtol=1e-5, atol=1e-6)
    check_gradients(rig, tolerance=4e-3)  # float32 sums of up to 40, divided by a step of 0.02


def test_the_slope_of_the_magnitude_is_0_at_0():
    rig = make_layer(
        'type: "Reduction" reduction_param { operation: ASUM }', np.array([[-2, 0, 3]], np.float32)
    )
    rig.forward()
    np.testing.assert_array_equal(rig.backward(np.float32(2))[0], [[-2, 0, 2]])


def test_reduction_as_a_loss():
    rig = make_layer('type: "Reduction" loss_weight: 3', np.ones((2, 2), np.float32))
    assert rig.node.forward() == 12
    np.testing.assert_array_equal(rig.backward()[0], np.full((2, 2), 3))


def test_the_mean_follows_the_shape():
    rig = make_layer('type: "Reduction" reduction_param { operation: MEAN axis: 1 }', normal(2, 3))
    rig.bottom[0].reshape(3, 5)
    rig.bottom[0].data[...] = x = normal(3, 5)
    np.testing.assert_allclose(rig.forward()[0], x.mean(1), rtol=1e-5, atol=1e-6)


def argmax(x, settings=""):
    return make_layer(f'type: "ArgMax" argmax_param {{ {settings} }}', x)


TIES = np.array([[1, 3, 3, 0, 3], [0, 0, 0, 0, 0]], np.float32)


def test_of_equal_values_the_last_is_first():
    np.testing.assert_array_equal(argmax(TIES).forward()[0], [[[4]], [[4]]])
    both = argmax(TIES, "top_k: 3 out_max_val: true").forward()[0]
    np.testing.assert_array_equal(both[:, 0], [[4, 2, 1], [4, 3, 2]])
    np.testing.assert_array_equal(both[:, 1], [[3, 3, 3], [0, 0, 0]])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("k", [1, 2])
def test_argmax_along_an_axis(axis, k):
    x = normal(2, 3, 4)
    order = np.flip(np.argsort(x, axis), axis).take(range(k), axis)
    np.testing.assert_array_equal(argmax(x, f"axis: {axis} top_k: {k}").forward()[0], order)
    values = argmax(x, f"axis: {axis} top_k: {k} out_max_val: true").forward()[0]
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


@pytest.mark.parametrize(
    ("shape", "settings", "top"),
    [
        ((3,), "", (3, 1, 1)),
        ((3, 4), "top_k: 2", (3, 1, 2)),
        ((2, 3, 4, 5), "top_k: 7", (2, 1, 7, 1)),
        ((2, 3, 4, 5, 2), "out_max_val: true", (2, 2, 1, 1, 1)),
    ],
)
def test_argmax_over_a_sample(shape, settings, top):
    x = normal(*shape)
    found = argmax(x, settings).forward()[0]
    assert found.shape == top
    np.testing.assert_array_equal(
        found.reshape(shape[0], -1)[:, 0], x.reshape(shape[0], -1).argmax(1)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("top_k: 0", "top_k must be 1 or more"),
        ("top_k: 7", r"top_k must be at most 6.*\(2, 3, 2\), it is 7"),
        ("axis: 1 top_k: 4", "at most 3.*it is 4"),
        ("axis: 3", "axis 3 is out of range"),
    ],
)
def test_argmax_errors(settings, message):
    with pytest.raises(CaffeError, match=message) as caught:
        argmax(normal(2, 3, 2), settings)
    assert "layer 'layer' (ArgMax)" in str(caught.value) and "\n" not in str(caught.value)


def test_argmax_has_no_gradient():
    rig = argmax(TIES)
    assert not rig.layer.allow_force_backward(0)
    with pytest.raises(GraphError, match=r"no gradient for bottom 0; set propagate_down"):
        rig.backward(np.ones((2, 1, 1)))


def test_reduction_errors():
    with pytest.raises(CaffeError, match="axis 2 is out of range"):
        make_layer('type: "Reduction" reduction_param { axis: 2 }', normal(2, 3))
    for kind in ("Reduction", "ArgMax"):
        with pytest.raises(GraphError, match=f"{kind}. does not allow in-place"):
            make_layer(f'type: "{kind}"', normal(2, 3), in_place=True)
