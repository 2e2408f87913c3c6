"""MVN."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def images(*shape):
    return (np.random.randn(*shape) * 3 + 1).astype(np.float32)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("normalizes", [False, True])
def test_mvn(across, normalizes, in_place):
    x = images(2, 3, 4, 5)
    text = (
        f'type: "MVN" mvn_param {{ across_channels: {str(across).lower()} eps: 0.5 '
        f"normalize_variance: {str(normalizes).lower()} }}"
    )
    axes = (1, 2, 3) if across else (2, 3)
    expected = x - x.mean(axis=axes, keepdims=True)
    if normalizes:
        expected /= x.std(axis=axes, keepdims=True) + 0.5
    rig = make_layer(text, x, in_place=in_place)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-4, atol=1e-5)
    g = images(2, 3, 4, 5)
    apart = make_layer(text, x)
    apart.forward()
    np.testing.assert_array_equal(rig.backward(g)[0], apart.backward(g)[0])


@pytest.mark.parametrize("settings", ["", "across_channels: true", "normalize_variance: false"])
def test_gradient(settings):
    check_gradients(make_layer(f'type: "MVN" mvn_param {{ {settings} }}', images(2, 2, 3, 2)))


def test_the_top_has_four_axes():
    x = images(3, 5)
    rig = make_layer('type: "MVN" mvn_param { across_channels: true }', x)
    assert rig.forward()[0].shape == (3, 5, 1, 1)
    assert rig.backward(images(3, 5, 1, 1))[0].shape == (3, 5)
    with pytest.raises(ShapeError, match=r"at most 4 axes.*has 5: \(1, 1, 1, 1, 2\)"):
        make_layer('type: "MVN"', images(1, 1, 1, 1, 2))


def test_constant_planes_become_zero():
    rig = make_layer('type: "MVN"', np.full((1, 1, 2, 2), 7, np.float32))
    assert not rig.forward()[0].any()
    assert np.isfinite(rig.backward(np.zeros((1, 1, 2, 2), np.float32))[0]).all()
