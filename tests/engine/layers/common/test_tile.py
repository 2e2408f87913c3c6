"""Tile against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_tile(axis):
    x = np.random.randn(2, 3, 4).astype(np.float32)
    rig = make_layer(f'type: "Tile" tile_param {{ axis: {axis} tiles: 3 }}', x)
    np.testing.assert_array_equal(rig.forward()[0], np.concatenate([x] * 3, axis))
    check_gradients(rig)


def test_one_tile_in_place():
    x = np.random.randn(2, 3).astype(np.float32)
    rig = make_layer('type: "Tile" tile_param { tiles: 1 }', x, in_place=True)
    np.testing.assert_array_equal(rig.forward()[0], x)
    np.testing.assert_array_equal(rig.backward(2 * x)[0], 2 * x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "tiles above 0, it is not given"),
        ("tiles: 0", "tiles above 0, it is 0"),
        ("tiles: -2", "tiles above 0, it is -2"),
        ("tiles: 2 axis: 2", "axis 2 is out of range"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(CaffeError, match=message) as caught:
        make_layer(f'type: "Tile" tile_param {{ {settings} }}', np.ones((2, 3), np.float32))
    assert "layer 'layer' (Tile)" in str(caught.value) and "\n" not in str(caught.value)


def test_not_in_place():
    with pytest.raises(GraphError, match="does not allow in-place"):
        make_layer(
            'type: "Tile" tile_param { tiles: 2 }', np.ones((2, 3), np.float32), in_place=True
        )
