"""Embed against NumPy's indexing and InnerProduct's one-hot equivalent."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, DataError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

FILL = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
NUMBERS = np.array([[0, 3, 3], [1, 3, 0]], np.float32)


def embed(numbers, settings="", **more):
    text = f'type: "Embed" embed_param {{ input_dim: 5 num_output: 4 {FILL} {settings} }}'
    return make_layer(text, np.asarray(numbers, np.float32), **more)


def test_values_and_gradients():
    rig = embed(NUMBERS)
    table, bias = (blob.data for blob in rig.layer.blobs)
    assert table.shape == (5, 4) and bias.shape == (4,)
    expected = table[NUMBERS.astype(int)] + bias
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-6)
    check_gradients(rig, bottoms=[])
    # rows that occur several times, or never
    g = np.random.randn(2, 3, 4).astype(np.float32)
    rig.layer.blobs[0].clear_diff()
    for _ in range(2):
        rig.backward(g, down=[False])
    one_hot = np.eye(5, dtype=np.float32)[NUMBERS.astype(int)].reshape(-1, 5)
    expected = 2 * one_hot.T @ g.reshape(-1, 4)
    np.testing.assert_allclose(rig.layer.blobs[0].diff, expected, rtol=1e-5, atol=1e-6)
    assert not rig.layer.blobs[0].diff[[2, 4]].any()


def test_without_bias_and_with_fractions():
    rig = embed([0.9, 3.5, -0.5], "bias_term: false")
    assert len(rig.layer.blobs) == 1
    np.testing.assert_array_equal(rig.forward()[0], rig.layer.blobs[0].data[[0, 3, 0]])


def test_another_shape_and_none():
    rig = embed(NUMBERS)
    rig.bottom[0].reshape(0, 3)
    assert rig.forward()[0].shape == (0, 3, 4)


@pytest.mark.parametrize("numbers", [[1, 5], [-1, 4]])
def test_numbers_outside_the_table(numbers):
    rig = embed(numbers)
    with pytest.raises(DataError, match=rf"run from {min(numbers)} to {max(numbers)}.*0 to 4"):
        rig.forward()


@pytest.mark.parametrize(
    "settings", ["input_dim: 4", "num_output: 4", "input_dim: 0 num_output: 2"]
)
def test_sizes_are_needed(settings):
    with pytest.raises(CaffeError, match=r"layer 'layer' \(Embed\).*num_output and input_dim"):
        make_layer(f'type: "Embed" embed_param {{ {settings} }}', NUMBERS)


def test_no_gradient_for_numbers():
    rig = embed(NUMBERS)
    rig.forward()
    assert not rig.layer.allow_force_backward(0)
    with pytest.raises(GraphError, match=r"cannot backpropagate to its input \(bottom 0\)"):
        rig.backward(np.ones((2, 3, 4)))
    with pytest.raises(GraphError, match="does not allow in-place"):
        embed(NUMBERS, in_place=True)
