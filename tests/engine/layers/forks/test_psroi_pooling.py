"""PSROIPooling against the fork's definition written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer
from tests.engine.layers.forks.test_roi_pooling import REGIONS, away


def by_loops(x, regions, outputs, group, scale):
    """One bin after the other, in single precision."""
    one = np.float32
    result = np.zeros((len(regions), outputs, group, group), one)
    for r, (image, *corners) in enumerate(regions):
        x1, y1 = (one(away(c)) * one(scale) for c in corners[:2])
        x2, y2 = (one(away(c) + 1) * one(scale) for c in corners[2:])
        high, wide = (max(b - a, one(0.1)) / one(group) for a, b in ((y1, y2), (x1, x2)))
        for k, i, j in np.ndindex(outputs, group, group):
            rows = slice(
                *(min(max(v, 0), x.shape[2]) for v in (math.floor(one(i) * high + y1),
                                                       math.ceil(one(i + 1) * high + y1)))
            )  # fmt: skip
            columns = slice(
                *(min(max(v, 0), x.shape[3]) for v in (math.floor(one(j) * wide + x1),
                                                       math.ceil(one(j + 1) * wide + x1)))
            )  # fmt: skip
            part = x[int(image), (k * group + i) * group + j, rows, columns]
            if part.size:
                result[r, k, i, j] = part.mean()
    return result


def text(outputs=2, group=3, scale=0.5):
    return (
        f'type: "PSROIPooling" psroi_pooling_param {{ output_dim: {outputs} group_size: {group} '
        f"spatial_scale: {scale} }}"
    )


@pytest.mark.parametrize(("outputs", "group"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("scale", [0.5, 0.0625])
def test_forward(outputs, group, scale):
    x = np.random.randn(2, outputs * group**2, 6, 8).astype(np.float32)
    found = make_layer(text(outputs, group, scale), x, REGIONS).forward()[0]
    expected = by_loops(x, REGIONS, outputs, group, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.any()


def test_gradients():
    x = np.random.randn(2, 4, 4, 5).astype(np.float32)
    check_gradients(make_layer(text(1, 2), x, REGIONS), bottoms=[0])


def test_no_regions_and_other_sizes():
    rig = make_layer(text(), np.ones((2, 18, 6, 8), np.float32), np.zeros((0, 5), np.float32))
    assert rig.forward()[0].shape == (0, 2, 3, 3)
    assert not rig.backward(np.zeros((0, 2, 3, 3)))[0].any()
    x = np.random.randn(2, 18, 9, 5).astype(np.float32)
    for blob, values in zip(rig.bottom, (x, REGIONS)):
        blob.reshape(*values.shape)
        blob.data[...] = values
    found = rig.forward()[0]
    np.testing.assert_allclose(found, by_loops(x, REGIONS, 2, 3, 0.5), rtol=1e-5, atol=1e-6)


def test_refusals():
    x = np.zeros((1, 18, 4, 4), np.float32)
    with pytest.raises(ShapeError, match="has 18 channels, output_dim 2 and group_size 2 need 8"):
        make_layer(text(2, 2), x, REGIONS)
    with pytest.raises(PrototxtError, match="above 0, they are 0, 0 and 0"):
        make_layer('type: "PSROIPooling"', x, REGIONS)
    with pytest.raises(DataError, match="region 1 is of image 1"):
        make_layer(text(), x, REGIONS).forward()
