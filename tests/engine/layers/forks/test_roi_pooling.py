"""ROIPooling against the fork's definition written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

#: Image, x1, y1, x2, y2: inside; one pixel; a half that rounds away from zero; the wrong way round;
#: partly outside; wholly outside; negative.
REGIONS = np.array(
    [
        [0, 0, 0, 15, 11],
        [1, 4, 4, 4, 4],
        [1, 3, 5, 9, 7],
        [0, 9, 9, 2, 3],
        [1, 8, 2, 40, 30],
        [0, 60, 60, 70, 80],
        [1, -9, -5, 6, 5],
    ],
    np.float32,
)


def away(value):
    """C's round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def by_loops(x, regions, height, width, scale):
    """One bin after the other, in single precision."""
    result = np.zeros((len(regions), x.shape[1], height, width), np.float32)
    for r, (image, *corners) in enumerate(regions):
        x1, y1, x2, y2 = (away(np.float32(c) * np.float32(scale)) for c in corners)
        steps = [
            np.float32(max(b - a + 1, 1)) / np.float32(n)
            for a, b, n in ((y1, y2, height), (x1, x2, width))
        ]
        for i in range(height):
            for j in range(width):
                top, left = (
                    math.floor(np.float32(k) * s) + o for k, s, o in zip((i, j), steps, (y1, x1))
                )
                bottom, right = (
                    math.ceil(np.float32(k + 1) * s) + o for k, s, o in zip((i, j), steps, (y1, x1))
                )
                part = x[
                    int(image),
                    :,
                    min(max(top, 0), x.shape[2]) : min(max(bottom, 0), x.shape[2]),
                    min(max(left, 0), x.shape[3]) : min(max(right, 0), x.shape[3]),
                ]
                if part.size:
                    result[r, :, i, j] = part.max(axis=(1, 2))
    return result


def text(height=2, width=3, scale=0.5):
    return (
        f'type: "ROIPooling" roi_pooling_param {{ pooled_h: {height} pooled_w: {width} '
        f"spatial_scale: {scale} }}"
    )


@pytest.mark.parametrize("pooled", [(1, 1), (2, 3), (7, 7)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 0.0625])
def test_forward(pooled, scale):
    x = np.random.randint(-9, 9, (2, 3, 6, 8)).astype(np.float32)
    found = make_layer(text(*pooled, scale), x, REGIONS).forward()[0]
    np.testing.assert_array_equal(found, by_loops(x, REGIONS, *pooled, scale))


def test_regions_may_have_four_axes_and_there_may_be_none():
    x = np.random.randn(2, 3, 6, 8).astype(np.float32)
    rig = make_layer(text(), x, REGIONS.reshape(-1, 5, 1, 1))
    np.testing.assert_array_equal(rig.forward()[0], by_loops(x, REGIONS, 2, 3, 0.5))
    rig = make_layer(text(), x, np.zeros((0, 5), np.float32))
    assert rig.forward()[0].shape == (0, 3, 2, 3)
    assert not rig.backward(np.zeros((0, 3, 2, 3)))[0].any()


def test_gradients():
    x = np.random.permutation(np.arange(96)).reshape(2, 1, 6, 8).astype(np.float32) / 5
    check_gradients(make_layer(text(), x, REGIONS), bottoms=[0])


def test_the_first_of_equal_values_gets_the_gradient_and_an_empty_bin_none():
    x = np.zeros((1, 1, 4, 4), np.float32)
    regions = np.array([[0, 0, 0, 3, 3], [0, 20, 20, 30, 30]], np.float32)
    rig = make_layer(text(1, 1, 1.0), x, regions)
    rig.forward()
    gradient = rig.backward(np.full((2, 1, 1, 1), 3.0))[0]
    expected = np.zeros((1, 1, 4, 4))
    expected[0, 0, 0, 0] = 3
    np.testing.assert_array_equal(gradient, expected)


def test_regions_get_no_gradient():
    rig = make_layer(text(), np.ones((2, 3, 6, 8), np.float32), REGIONS)
    rig.bottom[1].diff[...] = 7
    rig.forward()
    assert not rig.backward(np.ones((7, 3, 2, 3)))[1].any()
    assert rig.layer.allow_force_backward(0) and not rig.layer.allow_force_backward(1)


def test_other_sizes_and_numbers_of_regions():
    rig = make_layer(text(), np.ones((2, 3, 6, 8), np.float32), REGIONS)
    rig.forward()
    x = np.random.randn(4, 3, 9, 5).astype(np.float32)
    rig.bottom[0].reshape(*x.shape)
    rig.bottom[0].data[...] = x
    rig.bottom[1].reshape(2, 5)
    rig.bottom[1].data[...] = few = np.array([[3, 1, 2, 8, 9], [2, 0, 0, 5, 5]], np.float32)
    np.testing.assert_array_equal(rig.forward()[0], by_loops(x, few, 2, 3, 0.5))


def test_refusals():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(PrototxtError, match="pooled_h and pooled_w above 0, they are 2 and 0"):
        make_layer(text(2, 0), x, REGIONS)
    with pytest.raises(ShapeError, match=r"regions \(R, 5\).*it has shape \(3, 4\)"):
        make_layer(text(), x, np.zeros((3, 4), np.float32))
    with pytest.raises(ShapeError, match=r"4 axes .* it has shape \(1, 4\)"):
        make_layer(text(), x[0, 0, :1], REGIONS)
    with pytest.raises(DataError, match=r"region 1 is of image 1, the batch has 1 \(0 to 0\)"):
        make_layer(text(), x, REGIONS).forward()
    with pytest.raises(DataError, match="region 0 is .*nan"):
        make_layer(text(), x, np.full((1, 5), np.nan, np.float32)).forward()
