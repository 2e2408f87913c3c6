"""AbsVal, Clip, Threshold."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, PrototxtError, UnsupportedError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

X = np.array([[-2, -0.5, 0, 0.5, 1, 3]], np.float32)


def test_absval():
    rig = make_layer('type: "AbsVal"', X)
    np.testing.assert_array_equal(rig.forward()[0], np.abs(X))
    np.testing.assert_array_equal(rig.backward(np.ones_like(X))[0], [[-1, -1, 0, 1, 1, 1]])
    with pytest.raises(
        GraphError, match="'layer': AbsVal does not allow in-place.*name of its own"
    ):
        make_layer('type: "AbsVal"', X, in_place=True)


@pytest.mark.parametrize("in_place", [False, True])
def test_clip(in_place):
    rig = make_layer('type: "Clip" clip_param { min: -0.5 max: 1 }', X, in_place=in_place)
    np.testing.assert_array_equal(rig.forward()[0], [[-0.5, -0.5, 0, 0.5, 1, 1]])
    # The bounds belong to the range; in place the gradient is still that of the input.
    np.testing.assert_array_equal(rig.backward(2 * np.ones_like(X))[0], [[0, 2, 2, 2, 2, 0]])


def test_clip_gradient():
    x = np.random.uniform(-2, 2, (3, 4)).astype(np.float32)
    x[np.abs(np.abs(x) - 1) < 0.1] = 0
    check_gradients(make_layer('type: "Clip" clip_param { min: -1 max: 1 }', x))


def test_clip_needs_bounds_in_order():
    with pytest.raises(PrototxtError, match="min 2 above max 1"):
        make_layer('type: "Clip" clip_param { min: 2 max: 1 }', X)
    with pytest.raises(PrototxtError, match="write clip_param"):
        make_layer('type: "Clip"', X)


@pytest.mark.parametrize("in_place", [False, True])
def test_threshold(in_place):
    text = 'type: "Threshold" threshold_param { threshold: 0.5 }'
    rig = make_layer(text, X, in_place=in_place)
    np.testing.assert_array_equal(rig.forward()[0], [[0, 0, 0, 0, 1, 1]])
    rig.backward(down=[False])
    with pytest.raises(UnsupportedError, match=r"'layer': Threshold has no gradient.*\(1, 6\)"):
        rig.backward(down=[True])
