"""MultinomialLogisticLoss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dualnet.engine.errors import DataError, GraphError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

KIND = 'type: "MultinomialLogisticLoss"'


def test_loss_and_gradient():
    p = np.random.uniform(0.2, 1, (4, 3)).astype(np.float32)
    labels = np.array([2, 0, 1, 1])
    rig = make_layer(KIND + " loss_weight: 2", p, labels.astype(np.float32))
    expected = -np.log(p[np.arange(4), labels]).mean()
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_probabilities_have_a_floor():
    p = np.array([[0, 1]], np.float32)
    rig = make_layer(KIND, p, np.zeros(1, np.float32))
    np.testing.assert_allclose(rig.forward()[0], -math.log(1e-20), rtol=1e-6)
    np.testing.assert_allclose(rig.backward(down=[True, False])[0], [[-1e20, 0]], rtol=1e-6)


def test_all_of_a_sample_are_classes():
    p = np.random.uniform(0.2, 1, (2, 3, 2)).astype(np.float32)
    rig = make_layer(KIND, p, np.array([5, 0], np.float32))
    expected = -(np.log(p[0, 2, 1]) + np.log(p[1, 0, 0])) / 2
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)


def test_labels_are_checked():
    p = np.ones((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"needs 2 labels, bottom 1 has shape \(2, 3\)"):
        make_layer(KIND, p, p)
    with pytest.raises(DataError, match="range from -1 to 0.*3 classes"):
        make_layer(KIND, p, np.array([0, -1], np.float32)).forward()
    rig = make_layer(KIND, p, np.zeros(2, np.float32))
    rig.forward()
    with pytest.raises(GraphError, match="cannot backpropagate to its label"):
        rig.backward()
