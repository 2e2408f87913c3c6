"""Upsample: by a mask as SegNet does, by repetition as MobileNet-YOLO does."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.net.net import Net
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def text(fields=""):
    return f'type: "Upsample" upsample_param {{ {fields} }}'


def masked(x, mask, height, width):
    """The last of several values for a place stays."""
    n, c = x.shape[:2]
    result = np.zeros((n, c, height * width), np.float32)
    for i, j in np.ndindex(n, c):
        for value, place in zip(x[i, j].reshape(-1), mask[i, j].reshape(-1)):
            result[i, j, int(place)] = value
    return result.reshape(n, c, height, width)


def places(n, c, h, w, height, width):
    """A mask without repetition."""
    rows = [np.random.permutation(height * width)[: h * w] for _ in range(n * c)]
    return np.array(rows, np.float32).reshape(n, c, h, w)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("scale: 2", (6, 8)),
        ("", (6, 8)),
        ("scale: 3", (9, 12)),
        ("scale_h: 2 scale_w: 4", (6, 16)),
        ("scale: 2 pad_out_h: true", (5, 8)),
        ("scale: 2 pad_out_h: true pad_out_w: true", (5, 7)),
        ("upsample_h: 7 upsample_w: 5", (7, 5)),
        ("scale: 2 upsample_h: 7 upsample_w: 9", (7, 9)),
    ],
)
def test_by_a_mask(fields, size):
    x, mask = np.random.randn(2, 3, 3, 4).astype(np.float32), places(2, 3, 3, 4, *size)
    rig = make_layer(text(fields), x, mask)
    np.testing.assert_array_equal(rig.forward()[0], masked(x, mask, *size))
    check_gradients(rig, bottoms=[0])


def test_of_several_values_for_a_place_the_last_stays_and_each_gets_the_gradient():
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    mask = np.array([5, 5, 0, 5], np.float32).reshape(1, 1, 2, 2)
    rig = make_layer(text(), x, mask)
    y = rig.forward()[0]
    assert y[0, 0, 1, 1] == 4 and y[0, 0, 0, 0] == 3 and (y != 0).sum() == 2
    g = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(rig.backward(g)[0], [[[[5, 5], [0, 5]]]])


def test_the_mask_gets_no_gradient():
    x, mask = np.ones((1, 1, 2, 2), np.float32), places(1, 1, 2, 2, 4, 4)
    rig = make_layer(text(), x, mask)
    rig.forward()
    rig.bottom[1].diff[...] = 7
    assert not rig.backward(np.ones((1, 1, 4, 4)))[1].any()
    assert rig.layer.allow_force_backward(0) and not rig.layer.allow_force_backward(1)


@pytest.mark.parametrize(("fields", "scale"), [("scale: 3", (3, 3)), ("", (1, 1)),
                                               ("scale_h: 1 scale_w: 2", (1, 2))])  # fmt: skip
def test_by_repetition(fields, scale):
    x = np.random.randn(2, 2, 2, 3).astype(np.float32)
    rig = make_layer(text(fields), x)
    expected = x.repeat(scale[0], axis=2).repeat(scale[1], axis=3)
    np.testing.assert_array_equal(rig.forward()[0], expected)
    check_gradients(rig)


def test_other_sizes():
    rig = make_layer(text(), np.ones((1, 1, 2, 2), np.float32), places(1, 1, 2, 2, 4, 4))
    rig.forward()
    x, mask = np.random.randn(2, 1, 3, 1).astype(np.float32), places(2, 1, 3, 1, 6, 2)
    for blob, values in zip(rig.bottom, (x, mask)):
        blob.reshape(*values.shape)
        blob.data[...] = values
    np.testing.assert_array_equal(rig.forward()[0], masked(x, mask, 6, 2))


def test_pooling_and_upsampling_keep_the_maxima_in_place(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "x" input_shape { dim: 2 dim: 3 dim: 5 dim: 8 } force_backward: true\n'
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "mask" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
        'layer { name: "u" type: "Upsample" bottom: "p" bottom: "mask" top: "u" '
        "upsample_param { scale: 2 pad_out_h: true } }\n"
    )
    net = Net(str(path), 0)
    x = np.random.permutation(2 * 3 * 5 * 8).reshape(2, 3, 5, 8).astype(np.float32) + 1
    y = net.forward(x=x)["u"]
    is_maximum = np.zeros(x.shape, bool)
    for i in range(3):
        for j in range(4):
            part = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            is_maximum[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = part == part.max(
                axis=(2, 3), keepdims=True
            )
    np.testing.assert_array_equal(y, x * is_maximum)
    g = np.random.randn(*x.shape).astype(np.float32)
    found = net.backward(u=g)["x"]
    np.testing.assert_array_equal(found, g * is_maximum)


def test_refusals():
    x = np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(DataError, match=r"mask ranges from 16 to 16, .* has places 0 to 15"):
        make_layer(text(), x, 16 * x).forward()
    with pytest.raises(DataError, match="mask ranges from -1"):
        make_layer(text(), x, -x).forward()
    with pytest.raises(ShapeError, match="values and mask must have the same shape"):
        make_layer(text(), x, np.ones((1, 1, 2, 3), np.float32))
    for fields, reason in (
        ("scale: 1", r"has size \(1, 1\); it must be at least 2"),
        ("scale_h: 2", "needs scale_h and scale_w, or neither"),
        ("scale: 2 scale_h: 2 scale_w: 2", "give one kind"),
        ("scale: 3 pad_out_h: true", "has pad_out, which needs scale 2"),
    ):
        with pytest.raises(PrototxtError, match=reason):
            make_layer(text(fields), x, x)
    with pytest.raises(PrototxtError, match="which need a mask as second bottom"):
        make_layer(text("upsample_h: 4 upsample_w: 4"), x)
