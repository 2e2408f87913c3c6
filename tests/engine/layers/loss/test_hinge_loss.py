"""HingeLoss."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import DataError, GraphError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


@pytest.mark.parametrize(("norm", "power"), [("L1", 1), ("L2", 2)])
def test_hinge_loss(norm, power):
    x = (np.random.randn(5, 4) * 2).astype(np.float32)
    x[np.abs(np.abs(x) - 1) < 0.05] = 0  # off the kinks, for the numerical gradient
    labels = np.array([0, 3, 2, 1, 0])
    text = f'type: "HingeLoss" loss_weight: 3 hinge_loss_param {{ norm: {norm} }}'
    rig = make_layer(text, x, labels.astype(np.float32))
    sign = np.where(np.arange(4) == labels[:, None], 1, -1)
    expected = (np.maximum(1 - sign * x.astype(float), 0) ** power).sum() / 5
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_all_of_a_sample_are_classes():
    x = np.random.randn(2, 2, 3).astype(np.float32)
    labels = np.array([5, 0], np.float32)
    flat = make_layer('type: "HingeLoss"', x.reshape(2, 6), labels)
    deep = make_layer('type: "HingeLoss"', x, labels)
    assert flat.forward()[0] == deep.forward()[0]
    assert deep.backward(down=[True, False])[0].shape == (2, 2, 3)


def test_labels_are_checked():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"needs 2 labels, bottom 1 has shape \(2, 3\)"):
        make_layer('type: "HingeLoss"', x, x)
    with pytest.raises(DataError, match="range from 0 to 3.*3 classes"):
        make_layer('type: "HingeLoss"', x, np.array([0, 3], np.float32)).forward()
    rig = make_layer('type: "HingeLoss"', x, np.zeros(2, np.float32))
    rig.forward()
    with pytest.raises(GraphError, match="cannot backpropagate to its label"):
        rig.backward()
