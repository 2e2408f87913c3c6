"""Reshape: shapes by hand, shared memory, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from dualnet.engine.net.net import Net
from tests.engine.harness import make_layer


def reshape(settings, *shape, **more):
    x = np.random.randn(*shape).astype(np.float32)
    return make_layer(f'type: "Reshape" reshape_param {{ {settings} }}', x, **more)


def dims(*sizes):
    return "shape { " + " ".join(f"dim: {d}" for d in sizes) + " }"


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [
        (dims(0, -1), (2, 3, 4), (2, 12)),
        (dims(-1), (2, 3, 4), (24,)),
        (dims(0, 0, 2, -1), (2, 3, 8), (2, 3, 2, 4)),
        (dims(2, 3, 4), (24,), (2, 3, 4)),
        (dims(), (1, 1), ()),
        (dims(3, 2) + " axis: 1 num_axes: 1", (2, 6, 5), (2, 3, 2, 5)),
        (dims(-1) + " axis: 1 num_axes: 2", (2, 3, 4, 5), (2, 12, 5)),
        (dims(1) + " axis: 1 num_axes: 0", (2, 3), (2, 1, 3)),
        (dims(1, 1) + " axis: -1 num_axes: 0", (2, 3), (2, 3, 1, 1)),
        (dims(4, -1) + " axis: -2", (2, 8), (2, 4, 2)),
        (dims(0, -1) + " axis: 1", (2, 3, 4, 5), (2, 3, 20)),
    ],
)
def test_shapes(settings, before, after):
    rig = reshape(settings, *before)
    x = rig.bottom[0].data.copy()
    top = rig.forward()[0]
    np.testing.assert_array_equal(top, x.reshape(after))
    assert top.shape == after
    g = np.asarray(np.random.standard_normal(after), np.float32)
    np.testing.assert_array_equal(rig.backward(g)[0], g.reshape(before))


def test_top_and_bottom_are_one_memory():
    rig = reshape(dims(-1), 2, 3)
    rig.forward()
    rig.top[0].data[4] = 7
    rig.bottom[0].diff[1, 2] = 5
    assert rig.bottom[0].data[1, 1] == 7 and rig.top[0].diff[5] == 5


def test_the_batch_may_change():
    rig = reshape(dims(0, -1), 2, 3, 4)
    rig.bottom[0].reshape(5, 3, 4)
    assert rig.forward()[0].shape == (5, 12)


def test_a_flatten_after_it_does_not_lose_the_gradient(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'force_backward: true layer { name: "x" type: "Input" top: "x" input_param { '
        "shape { dim: 2 dim: 3 dim: 4 } } }\n"
        'layer { name: "r" type: "Reshape" bottom: "x" top: "r" reshape_param { shape { dim: 2 '
        'dim: 2 dim: -1 } } }\n layer { name: "f" type: "Flatten" bottom: "r" top: "f" }'
    )
    net = Net(path, 0)
    for _ in range(2):
        net.forward()
        g = np.random.randn(2, 12).astype(np.float32)
        net.blobs["f"].diff[...] = g
        np.testing.assert_array_equal(net.backward()["x"], g.reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (dims(-1, -1), (2, 3), r"\[-1, -1\] may have one -1"),
        (dims(-2), (2, 3), r"\[-2\] may have"),
        ("num_axes: -2", (2, 3), "num_axes must be 0 or more.*-2"),
        (dims(-1) + " axis: 3", (2, 3), r"axis 3 with num_axes -1.*\(2, 3\)"),
        (dims(-1) + " axis: -4", (2, 3), r"axis -4.*\(2, 3\)"),
        (dims(-1) + " axis: 1 num_axes: 2", (2, 3), r"num_axes 2 is out of range.*\(2, 3\)"),
        (dims(2, 3, 0), (2, 3), r"dimension 2.*no axis 2 to copy"),
        (dims(4, -1), (2, 3), r"has 6 values, not a multiple of the 4"),
        (dims(2, 4), (2, 3), r"\(2, 4\) has 8 values, the bottom's \(2, 3\) has 6"),
    ],
)
def test_errors(settings, shape, message):
    with pytest.raises(CaffeError, match=message) as caught:
        reshape(settings, *shape)
    assert "layer 'layer' (Reshape)" in str(caught.value) and "\n" not in str(caught.value)


def test_not_in_place():
    with pytest.raises(GraphError, match="does not allow in-place"):
        reshape(dims(-1), 2, 3, in_place=True)
