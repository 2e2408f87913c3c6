"""PriorBox against its definition written as loops."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError
from tests.engine.harness import make_layer

MAP, IMAGE = np.zeros((2, 4, 3, 2), np.float32), np.zeros((2, 3, 60, 50), np.float32)


def text(fields):
    return f'type: "PriorBox" prior_box_param {{ {fields} }}'


def boxes(sides, size, image, step, offset):
    """Corners in fractions of the image, pixel by pixel."""
    found = []
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = (row + offset) * step[0], (column + offset) * step[1]
            for w, h in sides:
                found.append(
                    [(x - w / 2) / image[1], (y - h / 2) / image[0],
                     (x + w / 2) / image[1], (y + h / 2) / image[0]]
                )  # fmt: skip
    return np.array(found).reshape(-1)


def test_all_kinds_of_boxes():
    fields = "min_size: 10.7 min_size: 20 max_size: 21.5 max_size: 30 aspect_ratio: 2 variance: 0.2"
    found = make_layer(text(fields), MAP, IMAGE).forward()[0]
    sides = []
    for least, most in ((10, 21), (20, 30)):  # cut to whole pixels
        middle = (least * most) ** 0.5
        sides += [(least, least), (middle, middle)]
        sides += [(least * r**0.5, least / r**0.5) for r in (2, 0.5)]
    assert found.shape == (1, 2, 3 * 2 * 8 * 4)
    expected = boxes(sides, (3, 2), (60, 50), (20, 25), 0.5)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0, 1], np.float32(0.2))


def test_given_sizes_steps_offset_and_four_variances():
    fields = (
        "min_size: 8 img_h: 100 img_w: 80 step_h: 16 step_w: 8 offset: 0 flip: false clip: true "
        "aspect_ratio: 1 aspect_ratio: 3 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.3"
    )
    found = make_layer(text(fields), MAP, IMAGE).forward()[0]
    sides = [(8, 8), (8 * 3**0.5, 8 / 3**0.5)]
    expected = boxes(sides, (3, 2), (100, 80), (16, 8), 0).clip(0, 1)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5, atol=1e-6)
    assert (found[0, 0] == 0).any()
    np.testing.assert_array_equal(
        found[0, 1].reshape(-1, 4), np.broadcast_to(np.float32([0.1, 0.1, 0.2, 0.3]), (12, 4))
    )


def test_common_size_and_step_and_the_default_variance():
    found = make_layer(text("min_size: 4 img_size: 32 step: 8"), MAP, IMAGE).forward()[0]
    expected = boxes([(4, 4)], (3, 2), (32, 32), (8, 8), 0.5)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[0, 1], np.float32(0.1))


def test_other_sizes_and_no_gradient():
    rig = make_layer(text("min_size: 4"), MAP, IMAGE)
    rig.bottom[0].reshape(1, 4, 1, 5)
    rig.bottom[1].reshape(1, 3, 30, 40)
    found = rig.forward()[0]
    np.testing.assert_allclose(found[0, 0], boxes([(4, 4)], (1, 5), (30, 40), (30, 8), 0.5), 1e-5)
    rig.bottom[0].diff[...] = 5
    assert not rig.backward(np.ones((1, 2, 20)))[0].any()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("", r"needs min_size above 0, it is \[\]"),
        ("min_size: 3 max_size: 2", "needs a larger max_size"),
        ("min_size: 3 max_size: 4 max_size: 5", "needs a larger max_size"),
        ("min_size: 3 variance: 1 variance: 2", "no, one or four variance"),
        ("min_size: 3 img_size: 4 img_h: 5", "img_size, or img_h and img_w, above 0"),
        ("min_size: 3 step_h: 4", "step, or step_h and step_w, above 0"),
        ("min_size: 3 aspect_ratio: 0", "aspect_ratio above 0, one is 0"),
    ],
)
def test_refusals(fields, reason):
    with pytest.raises(PrototxtError, match=reason):
        make_layer(text(fields), MAP, IMAGE)
