"""Slice and Crop against NumPy's slicing."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "cuts", "axis"),
    [
        ("", [2, 4], 1),
        ("slice_dim: 2", [1, 2], 2),
        ("axis: 0 slice_point: 1 slice_point: 2", [1, 2], 0),
        ("axis: -2 slice_point: 1 slice_point: 5", [1, 5], 1),
    ],
)
def test_slice(settings, cuts, axis):
    x = normal(4, 6, 3)
    rig = make_layer(f'type: "Slice" slice_param {{ {settings} }}', x, tops=3)
    for found, part in zip(rig.forward(), np.split(x, cuts, axis)):
        np.testing.assert_array_equal(found, part)
    check_gradients(rig)


def test_slice_to_one_top_shares_memory():
    rig = make_layer('type: "Slice"', normal(2, 3))
    rig.forward()
    rig.top[0].data[1, 2] = 8
    assert rig.bottom[0].data[1, 2] == 8
    g = normal(2, 3)
    np.testing.assert_array_equal(rig.backward(g)[0], g)


def test_slice_copies_so_that_tops_may_be_changed():
    x = normal(2, 4)
    rig = make_layer('type: "Slice"', x, tops=2)
    rig.forward()
    rig.top[0].data[...] = 0
    np.testing.assert_array_equal(rig.bottom[0].data, x)


def test_slice_follows_the_size_of_the_last_part():
    rig = make_layer('type: "Slice" slice_param { slice_point: 2 }', normal(2, 5), tops=2)
    rig.bottom[0].reshape(3, 9)
    assert [top.shape for top in rig.forward()] == [(3, 2), (3, 7)]


@pytest.mark.parametrize(
    ("settings", "tops", "message"),
    [
        ("axis: 1 slice_dim: 1", 2, "axis 1 and slice_dim 1"),
        ("", 4, r"blobs \(4\) should evenly divide the size 6"),
        ("slice_point: 2", 3, "3 tops need 2 slice_point, there are 1"),
        ("slice_point: 4 slice_point: 2", 3, r"\[4, 2\] must rise"),
        ("slice_point: 2 slice_point: 2", 3, r"\[2, 2\] must rise"),
        ("slice_point: 7", 2, r"\[7\] must rise.*at most 6"),
        ("slice_point: 0", 2, r"\[0\] must rise from above 0"),
        ("axis: 3", 2, "axis 3 is out of range"),
        ("axis: -4", 2, "axis -4 is out of range"),
    ],
)
def test_slice_errors(settings, tops, message):
    with pytest.raises(CaffeError, match=message) as caught:
        make_layer(f'type: "Slice" slice_param {{ {settings} }}', normal(2, 6, 3), tops=tops)
    assert "layer 'layer' (Slice)" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reference", "window"),
    [
        ("", (1, 1, 3, 2), np.s_[:, :, :3, :2]),
        ("offset: 1", (2, 3, 3, 2), np.s_[:, :, 1:4, 1:3]),
        ("axis: 1 offset: 0 offset: 2 offset: 3", (9, 2, 3, 1), np.s_[:, :2, 2:5, 3:4]),
        ("axis: -1 offset: 2", (7, 7, 7, 2), np.s_[:, :, :, 2:4]),
        ("axis: 0 offset: 1", (1, 2, 3, 3), np.s_[1:2, 1:3, 1:4, 1:4]),
        ("axis: -1", (1, 1, 1, 4, 9), np.s_[:, :, :, :4]),
    ],
)
def test_crop(settings, reference, window):
    x = normal(2, 3, 5, 4)
    rig = make_layer(f'type: "Crop" crop_param {{ {settings} }}', x, normal(*reference))
    np.testing.assert_array_equal(rig.forward()[0], x[window])
    check_gradients(rig, bottoms=[0])
    np.testing.assert_array_equal(rig.bottom[1].diff, 0)


@pytest.mark.parametrize(
    ("settings", "reference", "message"),
    [
        ("", (2, 3, 6, 4), r"\(2, 3, 6, 4\) at offset \[0, 0\].*\(2, 3, 5, 4\)"),
        ("offset: 3", (2, 3, 3, 1), r"offset \[3, 3\] from axis 2"),
        ("offset: 1 offset: 1 offset: 1", (2, 3, 1, 1), "3 offsets for 2 axes"),
        ("", (2, 3, 5), r"part of shape \(2, 3, 5\)"),
        ("axis: 4", (2, 3, 5, 4), "axis 4 is out of range"),
    ],
)
def test_crop_errors(settings, reference, message):
    with pytest.raises(CaffeError, match=message) as caught:
        make_layer(
            f'type: "Crop" crop_param {{ {settings} }}', normal(2, 3, 5, 4), normal(*reference)
        )
    assert "layer 'layer' (Crop)" in str(caught.value) and "\n" not in str(caught.value)


def test_not_in_place():
    with pytest.raises(GraphError, match="layer 'layer' .Slice. does not allow in-place"):
        make_layer('type: "Slice"', normal(2, 4), tops=2, in_place=True)
    with pytest.raises(GraphError, match="layer 'layer' .Crop. does not allow in-place"):
        make_layer('type: "Crop"', normal(1, 1, 2, 2), normal(1, 1, 1, 1), in_place=True)
