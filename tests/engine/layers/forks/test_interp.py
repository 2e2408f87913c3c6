"""Interp against bilinear interpolation written as loops."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def text(fields):
    return f'type: "Interp" interp_param {{ {fields} }}'


def by_loops(x, height, width):
    """Corners stay in place; a single row or column is the first."""
    n, c, h, w = x.shape
    result = np.zeros((n, c, height, width))
    for i in range(height):
        for j in range(width):
            row = i * (h - 1) / (height - 1) if height > 1 else 0.0
            column = j * (w - 1) / (width - 1) if width > 1 else 0.0
            y0, x0 = min(int(row + 1e-9), h - 1), min(int(column + 1e-9), w - 1)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            a, b = row - y0, column - x0
            upper = (1 - b) * x[:, :, y0, x0] + b * x[:, :, y0, x1]
            lower = (1 - b) * x[:, :, y1, x0] + b * x[:, :, y1, x1]
            result[:, :, i, j] = (1 - a) * upper + a * lower
    return result


@pytest.mark.parametrize(
    ("fields", "crop", "size"),
    [
        ("height: 9 width: 4", (0, 0), (9, 4)),
        ("height: 1 width: 1", (0, 0), (1, 1)),
        ("height: 5 width: 7", (0, 0), (5, 7)),  # a copy
        ("zoom_factor: 2", (0, 0), (9, 13)),
        ("zoom_factor: 1", (0, 0), (5, 7)),
        ("shrink_factor: 2", (0, 0), (3, 4)),
        ("shrink_factor: 3", (0, 0), (2, 3)),
        ("shrink_factor: 2 zoom_factor: 3", (0, 0), (7, 10)),
        ("zoom_factor: 3 pad_beg: -1 pad_end: -2", (1, 2), (4, 10)),
        ("height: 3 width: 8 zoom_factor: 2 shrink_factor: 2", (0, 0), (3, 8)),
        ("height: 3 width: 8 zoom_factor: 2", (0, 0), (9, 13)),
        ("height: 2 width: 3 pad_beg: -1", (1, 0), (2, 3)),
    ],
)
def test_forward_and_gradients(fields, crop, size):
    x = np.random.randn(2, 3, 5, 7).astype(np.float32)
    rig = make_layer(text(fields), x)
    inner = x[:, :, crop[0] : 5 - crop[1], crop[0] : 7 - crop[1]]
    np.testing.assert_allclose(rig.forward()[0], by_loops(inner, *size), rtol=1e-4, atol=1e-5)
    check_gradients(make_layer(text(fields), x[:1, :1]))


def test_other_sizes_of_the_bottom():
    rig = make_layer(text("zoom_factor: 2"), np.zeros((2, 3, 5, 7), np.float32))
    x = np.random.randn(1, 2, 3, 4).astype(np.float32)
    rig.bottom[0].reshape(*x.shape)
    rig.bottom[0].data[...] = x
    np.testing.assert_allclose(rig.forward()[0], by_loops(x, 5, 7), rtol=1e-4, atol=1e-5)


def test_refusals():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(PrototxtError, match="needs height and width, zoom_factor or shrink"):
        make_layer(text("height: 3"), x)
    with pytest.raises(PrototxtError, match="pad_beg 1 .* must be 0 or below"):
        make_layer(text("zoom_factor: 2 pad_beg: 1"), x)
    with pytest.raises(PrototxtError, match="zoom_factor 0.* above 0"):
        make_layer(text("zoom_factor: 0"), x)
    with pytest.raises(ShapeError, match=r"\(1, 1, 4, 4\) .* more rows and columns than the 4"):
        make_layer(text("zoom_factor: 2 pad_beg: -2 pad_end: -2"), x)
    with pytest.raises(ShapeError, match=r"shape \(4, 4\) must have 4 axes"):
        make_layer(text("zoom_factor: 2"), x[0, 0])
