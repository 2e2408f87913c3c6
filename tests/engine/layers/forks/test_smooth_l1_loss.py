"""SmoothL1Loss against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

SIGMAS = [0.5, 1.0, 3.0]


def formula(a, b, sigma, inside=1.0, outside=1.0):
    x = inside * (a.astype(np.float64) - b)
    near = np.abs(x) < 1 / sigma**2
    return (outside * np.where(near, (sigma * x) ** 2 / 2, np.abs(x) - 0.5 / sigma**2)).sum() / len(
        a
    )


def text(sigma):
    return f'type: "SmoothL1Loss" smooth_l1_loss_param {{ sigma: {sigma} }}'


def arrays(count, shape=(3, 4, 2, 2)):
    return [np.random.uniform(-2, 2, shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_forward(sigma, count):
    bottoms = arrays(count)
    found = make_layer(text(sigma), *bottoms).forward()[0]
    np.testing.assert_allclose(found, formula(*bottoms[:2], sigma, *bottoms[2:]), rtol=1e-5)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_gradients_of_both_terms(sigma, count):
    bottoms = arrays(count, (2, 5))
    x = (bottoms[0] - bottoms[1]) * (bottoms[2] if count > 2 else 1)
    bottoms[0][np.abs(np.abs(x) - 1 / sigma**2) < 0.05] += 0.2  # off the joint
    rig = make_layer(text(sigma), *bottoms)
    rig.top[0].diff[...] = 2.5  # a loss weight
    check_gradients(rig, bottoms=[0, 1], step=2e-3)


def test_the_slope_at_the_joint_and_at_zero():
    a = np.array([[0.0, 0.25, -0.25, 5.0, -5.0]], np.float32)
    rig = make_layer(text(2.0), a, np.zeros_like(a))
    rig.forward()
    found = rig.backward(np.array(1.0))
    np.testing.assert_array_equal(found[0], [[0, 1, -1, 1, -1]])
    np.testing.assert_array_equal(found[1], -found[0])


def test_without_a_sigma_it_is_one_and_the_loss_weight_is_one():
    a, b = arrays(2)
    rig = make_layer('type: "SmoothL1Loss"', a, b)
    np.testing.assert_allclose(rig.forward()[0], formula(a, b, 1.0), rtol=1e-5)
    assert float(rig.top[0].diff) == 1.0


def test_weights_get_no_gradient():
    rig = make_layer(text(1.0), *arrays(4))
    rig.forward()
    for blob in rig.bottom:
        blob.diff[...] = 7
    found = rig.backward(np.array(1.0))
    assert found[0].any() and found[1].any() and not found[2].any() and not found[3].any()
    allowed = [rig.layer.allow_force_backward(i) for i in range(4)]
    assert allowed == [True, True, False, False]


def test_other_sizes():
    rig = make_layer(text(1.0), *arrays(2))
    bottoms = arrays(2, (7, 3))
    for blob, values in zip(rig.bottom, bottoms):
        blob.reshape(7, 3)
        blob.data[...] = values
    np.testing.assert_allclose(rig.forward()[0], formula(*bottoms, 1.0), rtol=1e-5)


def test_refusals():
    a = np.zeros((2, 3), np.float32)
    with pytest.raises(GraphError, match="has 5 bottom blobs, it takes 2 to 4"):
        make_layer(text(1.0), a, a, a, a, a)
    with pytest.raises(ShapeError, match=r"bottom 3 has shape \(2, 4\), bottom 0 \(2, 3\)"):
        make_layer(text(1.0), a, a, a, np.zeros((2, 4), np.float32))
    with pytest.raises(PrototxtError, match="sigma 0; it must be above 0"):
        make_layer(text(0.0), a, a)
