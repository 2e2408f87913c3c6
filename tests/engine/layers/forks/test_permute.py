"""Permute against NumPy's transpose."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, PrototxtError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def text(order):
    return f'type: "Permute" permute_param {{ {" ".join(f"order: {a}" for a in order)} }}'


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ((0, 2, 3, 1), (0, 2, 3, 1)),
        ((3, 1), (3, 1, 0, 2)),
        ((2,), (2, 0, 1, 3)),
        ((), (0, 1, 2, 3)),
        ((0, 1), (0, 1, 2, 3)),
    ],
)
def test_forward_and_backward(given, whole):
    x = np.random.randn(2, 3, 4, 5).astype(np.float32)
    rig = make_layer(text(given), x)
    y = rig.forward()[0]
    np.testing.assert_array_equal(y, x.transpose(whole))
    g = np.random.randn(*y.shape).astype(np.float32)
    np.testing.assert_array_equal(rig.backward(g)[0], g.transpose(np.argsort(whole)))
    check_gradients(rig)


def test_other_sizes_and_other_numbers_of_axes():
    rig = make_layer(text((1,)), np.zeros((2, 3, 4, 5), np.float32))
    x = np.random.randn(6, 2).astype(np.float32)
    rig.bottom[0].reshape(6, 2)
    rig.bottom[0].data[...] = x
    np.testing.assert_array_equal(rig.forward()[0], x.T)


def test_refusals():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(PrototxtError, match=r"order \[0, 2\] names axis 2, .* axes 0 to 1"):
        make_layer(text((0, 2)), x)
    with pytest.raises(PrototxtError, match=r"order \[1, 1\] names an axis twice"):
        make_layer(text((1, 1)), x)
    with pytest.raises(GraphError, match="does not allow in-place"):
        make_layer(text((1, 0)), x, in_place=True)
