"""ContrastiveLoss."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def pairs(n=6, c=3):
    a, b = (np.random.randn(n, c).astype(np.float32) for _ in range(2))
    return a, b, (np.arange(n) % 2).astype(np.float32)


@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive_loss(legacy):
    a, b, similar = pairs()
    margin = 5.0
    text = (
        'type: "ContrastiveLoss" loss_weight: 2 contrastive_loss_param '
        f"{{ margin: {margin} legacy_version: {str(legacy).lower()} }}"
    )
    rig = make_layer(text, a, b, similar)
    square = ((a.astype(float) - b) ** 2).sum(axis=1)
    apart = margin - square if legacy else np.maximum(margin - np.sqrt(square), 0) ** 2
    expected = np.where(similar == 1, square, np.maximum(apart, 0)).sum() / (2 * len(a))
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)
    check_gradients(rig, bottoms=[0, 1])


def test_pairs_beyond_the_margin_rest():
    a, b = np.zeros((1, 2), np.float32), np.full((1, 2), 9, np.float32)
    rig = make_layer('type: "ContrastiveLoss"', a, b, np.zeros(1, np.float32))
    assert rig.forward()[0] == 0
    assert not rig.backward(down=[True, True, False])[0].any()


def test_equal_vectors_have_a_finite_gradient():
    a = np.ones((1, 2), np.float32)
    rig = make_layer('type: "ContrastiveLoss"', a, a, np.zeros(1, np.float32))
    np.testing.assert_allclose(rig.forward()[0], 0.5)
    assert not rig.backward(down=[True, True, False])[1].any()


def test_inputs_are_checked():
    a, b, similar = pairs()
    for bad in (b[:, :2], b.reshape(6, 3, 1)[:, :1].repeat(2, axis=2), np.zeros((6, 3, 2))):
        with pytest.raises(ShapeError, match=r"'layer': inputs must be vectors.*\(6, 3\) and"):
            make_layer('type: "ContrastiveLoss"', a, bad, similar)
    with pytest.raises(ShapeError, match=r"6 pairs need 6 labels, bottom 2 has shape \(5,\)"):
        make_layer('type: "ContrastiveLoss"', a, b, similar[:5])
    make_layer('type: "ContrastiveLoss"', a, b[:, :, None, None], similar[:, None])
    rig = make_layer('type: "ContrastiveLoss"', a, b, similar)
    rig.forward()
    with pytest.raises(GraphError, match="cannot backpropagate to its label inputs .bottom 2"):
        rig.backward()
