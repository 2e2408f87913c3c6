"""Normalize against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

VARIANTS = [(across, shared) for across in (True, False) for shared in (True, False)]


def text(across, shared, more=""):
    flags = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()}"
    return f'type: "Normalize" norm_param {{ {flags} {more} }}'


def formula(x, across, scale, eps=1e-10):
    axes = tuple(range(1, x.ndim)) if across else (1,)
    wide = x.astype(np.float64)
    scale = np.asarray(scale).reshape([-1] + [1] * (x.ndim - 2))
    return scale * wide / np.sqrt((wide**2).sum(axes, keepdims=True) + eps)


@pytest.mark.parametrize(("across", "shared"), VARIANTS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4), (2, 3, 4)])
def test_forward(across, shared, shape):
    x = np.random.randn(*shape).astype(np.float32)
    more = "scale_filler { type: 'uniform' min: 1 max: 20 }"
    rig = make_layer(text(across, shared, more), x)
    scale = rig.layer.blobs[0].data.copy()
    assert scale.shape == (() if shared else (shape[1],)) and (scale != 1).all()
    np.testing.assert_allclose(rig.forward()[0], formula(x, across, scale), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("across", "shared"), VARIANTS)
@pytest.mark.parametrize("in_place", [False, True])
def test_gradients(across, shared, in_place):
    x = np.random.randn(2, 3, 2, 2).astype(np.float32)
    more = "scale_filler { value: 2 }"
    apart = make_layer(text(across, shared, more), x)
    check_gradients(apart)
    if in_place:
        g = np.random.randn(*x.shape).astype(np.float32)
        apart.layer.blobs[0].clear_diff()
        apart.forward()
        expected = apart.backward(g)[0]
        rig = make_layer(text(across, shared, more), x, in_place=True)
        rig.forward()
        np.testing.assert_allclose(rig.backward(g)[0], expected, rtol=1e-6)
        np.testing.assert_allclose(rig.layer.blobs[0].diff, apart.layer.blobs[0].diff, rtol=1e-6)


def test_by_default_one_norm_an_image_and_scale_one():
    x = np.random.randn(2, 3, 2, 2).astype(np.float32)
    y = make_layer('type: "Normalize"', x).forward()[0]
    np.testing.assert_allclose((y**2).sum((1, 2, 3)), 1, rtol=1e-5)


def test_zeros_stay_zeros_and_a_large_eps_shows():
    assert not make_layer(text(True, True), np.zeros((1, 2, 2, 2), np.float32)).forward()[0].any()
    x = np.random.randn(2, 3, 2, 2).astype(np.float32)
    y = make_layer(text(False, True, "eps: 3"), x).forward()[0]
    np.testing.assert_allclose(y, formula(x, False, 1.0, 3.0), rtol=1e-5)


def test_other_sizes_and_refusals():
    rig = make_layer(text(False, False), np.ones((2, 3, 4, 5), np.float32))
    rig.bottom[0].reshape(1, 3, 2, 9)
    rig.bottom[0].data[...] = 2
    np.testing.assert_allclose(rig.forward()[0], 3**-0.5, rtol=1e-6)
    rig.bottom[0].reshape(1, 4, 2, 2)
    with pytest.raises(ShapeError, match=r"4 channels in \(1, 4, 2, 2\), the scale has 3"):
        rig.forward()
    with pytest.raises(ShapeError, match=r"shape \(3,\) has no channels"):
        make_layer(text(True, True), np.ones(3, np.float32))
