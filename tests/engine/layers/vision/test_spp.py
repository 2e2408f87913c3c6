"""SPP against its grids pooled one by one in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def image(n, c, h, w):
    """Values far apart, so that a small step changes no winner."""
    return (np.random.permutation(n * c * h * w).reshape(n, c, h, w) / 8).astype(np.float32)


def spp(x, height, pool="MAX", **more):
    text = f'type: "SPP" spp_param {{ pyramid_height: {height} pool: {pool} }}'
    return make_layer(text, x, **more)


def grid(x, cells, pool):
    """One grid, (N, C * cells * cells), from the windows' definition."""
    ends = []
    for size in x.shape[2:]:
        kernel = -(-size // cells)
        pad = (kernel * cells - size + 1) // 2
        ends.append([(i * kernel - pad, (i + 1) * kernel - pad, size, pad) for i in range(cells)])
    columns = []
    for top, bottom, h, pad_h in ends[0]:
        for left, right, w, pad_w in ends[1]:
            part = x[:, :, max(0, top) : min(h, bottom), max(0, left) : min(w, right)]
            area = (min(bottom, h + pad_h) - top) * (min(right, w + pad_w) - left)
            columns.append(part.max((2, 3)) if pool == "MAX" else part.sum((2, 3)) / area)
    return np.stack(columns, axis=2).reshape(len(x), -1)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(8, 8), (9, 11), (7, 10)])
def test_pyramid(pool, size):
    x = image(2, 3, *size)
    rig = spp(x, 3, pool)
    expected = np.concatenate([grid(x, 2**level, pool) for level in range(3)], axis=1)
    top = rig.forward()[0]
    assert top.shape == (2, 3 * 21)
    np.testing.assert_allclose(top, expected, rtol=1e-5)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_gradients(pool):
    check_gradients(spp(image(1, 2, 5, 6), 2, pool))


def test_one_grid_keeps_four_axes():
    x = image(2, 3, 4, 5)
    rig = spp(x, 1)
    np.testing.assert_array_equal(rig.forward()[0], x.max((2, 3), keepdims=True))
    check_gradients(rig)


def test_the_length_does_not_depend_on_the_image():
    rig = spp(image(2, 3, 8, 8), 2)
    rig.forward()
    for n, h, w in ((2, 6, 9), (1, 6, 9), (3, 4, 4)):
        x = image(n, 3, h, w)
        rig.bottom[0].reshape(*x.shape)
        rig.bottom[0].data[...] = x
        expected = np.concatenate([grid(x, cells, "MAX") for cells in (1, 2)], axis=1)
        np.testing.assert_array_equal(rig.forward()[0], expected)
        assert rig.backward(np.ones((n, 15)))[0].sum() == n * 15


@pytest.mark.parametrize(
    ("shape", "height", "message"),
    [
        ((2, 3, 8, 8), 0, "pyramid_height above 0"),
        ((2, 3, 8), 2, r"4 axes.*\(2, 3, 8\)"),
        ((2, 3, 3, 8), 3, "image of 3 x 8 is too small for the 4 x 4 grid"),
    ],
)
def test_errors(shape, height, message):
    with pytest.raises(CaffeError, match=message) as caught:
        spp(np.zeros(shape, np.float32), height)
    assert "layer 'layer' (SPP)" in str(caught.value) and "\n" not in str(caught.value)


def test_not_in_place():
    with pytest.raises(GraphError, match="does not allow in-place"):
        spp(image(1, 1, 4, 4), 2, in_place=True)
