"""SigmoidCrossEntropyLoss."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

KIND = 'type: "SigmoidCrossEntropyLoss"'


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", 4),
        ("normalization: FULL", 12),
        ("normalization: VALID", 12),
        ("normalization: NONE", 1),
        ("normalize: true", 12),
        ("normalize: false", 4),
        ("ignore_label: 1", 4),
        ("ignore_label: 1 normalization: VALID", None),
    ],
)
def test_loss_and_gradient(loss_param, divisor):
    x = np.random.randn(4, 3).astype(np.float32)
    target = (np.arange(12).reshape(4, 3) % 2).astype(np.float32)
    rig = make_layer(f"{KIND} loss_param {{ {loss_param} }}", x, target)
    s = 1 / (1 + np.exp(-x.astype(float)))
    terms = -(target * np.log(s) + (1 - target) * np.log(1 - s))
    if "ignore" in loss_param:
        terms = terms * (target != 1)
    np.testing.assert_allclose(rig.forward()[0], terms.sum() / (divisor or 6), rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_targets_between_0_and_1():
    x, target = np.random.randn(3, 2).astype(np.float32), np.random.rand(3, 2).astype(np.float32)
    rig = make_layer(KIND + " loss_weight: 2", x, target)
    rig.forward()
    check_gradients(rig, bottoms=[0])
    # Compared as integers, so that label 0 ignores all of them.
    ignoring = make_layer(KIND + " loss_param { ignore_label: 0 }", x, target)
    assert ignoring.forward()[0] == 0
    assert not ignoring.backward(down=[True, False])[0].any()


def test_large_scores_do_not_overflow():
    x, target = np.array([[500, -500]], np.float32), np.array([[0, 0]], np.float32)
    rig = make_layer(KIND, x, target)
    assert rig.forward()[0] == 500
    np.testing.assert_array_equal(rig.backward(down=[True, False])[0], [[1, 0]])


def test_everything_ignored_divides_by_one():
    target = np.full((2, 2), -1, np.float32)
    text = KIND + " loss_param { ignore_label: -1 normalization: VALID }"
    assert make_layer(text, target, target).forward()[0] == 0


def test_inputs_are_checked():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"same count.*\(2, 3\) and \(2, 2\)"):
        make_layer(KIND, x, x[:, :2])
    rig = make_layer(KIND, x, x)
    rig.forward()
    with pytest.raises(GraphError, match="cannot backpropagate to its label"):
        rig.backward()
