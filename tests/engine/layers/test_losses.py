"""Losses and Accuracy: closed forms, gradients, normalisation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dualnet.engine.errors import DataError, GraphError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def test_softmax():
    x = np.random.randn(2, 5, 3).astype(np.float32)
    rig = make_layer('type: "Softmax"', x)
    np.testing.assert_allclose(rig.forward()[0], softmax(x, 1), rtol=1e-5)
    check_gradients(rig)


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", 12),
        ("normalization: FULL", 12),
        ("normalization: BATCH_SIZE", 2),
        ("normalization: NONE", 1),
        ("normalize: false", 2),
        ("ignore_label: 0", None),
    ],
)
def test_softmax_with_loss(loss_param, divisor):
    x = np.random.randn(2, 5, 3, 2).astype(np.float32)
    labels = np.random.randint(0, 5, (2, 1, 3, 2)).astype(np.float32)
    rig = make_layer(f'type: "SoftmaxWithLoss" loss_param {{ {loss_param} }}', x, labels)
    picked = np.take_along_axis(softmax(x.astype(float), 1), labels.astype(int), axis=1)
    terms = -np.log(picked)
    if divisor is None:
        counted = labels != 0
        terms, divisor = terms * counted, counted.sum()
    np.testing.assert_allclose(rig.forward()[0], terms.sum() / divisor, rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_softmax_with_loss_weight_scales_the_gradient():
    x, labels = np.random.randn(4, 3).astype(np.float32), np.array([0, 1, 2, 1], np.float32)
    one = make_layer('type: "SoftmaxWithLoss"', x, labels)
    half = make_layer('type: "SoftmaxWithLoss" loss_weight: 0.5', x, labels)
    down = [True, False]
    one.forward(), half.forward()
    np.testing.assert_allclose(one.backward(down=down)[0] / 2, half.backward(down=down)[0])


def test_one_loss_is_at_most_that_of_the_smallest_float():
    x = np.array([[1000, 0]], np.float32)
    rig = make_layer('type: "SoftmaxWithLoss"', x, np.array([1], np.float32))
    np.testing.assert_allclose(rig.forward()[0], -math.log(np.finfo(np.float32).tiny), rtol=1e-6)


def test_bad_labels_name_both_ranges():
    x = np.zeros((2, 3), np.float32)
    rig = make_layer('type: "SoftmaxWithLoss"', x, np.array([0, 3], np.float32))
    with pytest.raises(DataError, match=r"0 to 3.*3 classes \(0 to 2\)"):
        rig.forward()
    with pytest.raises(ShapeError, match=r"first dimension.*\(2, 3\) and \(5,\)"):
        make_layer('type: "SoftmaxWithLoss"', x, np.zeros(5, np.float32))
    rig = make_layer('type: "SoftmaxWithLoss"', x, np.zeros(2, np.float32))
    rig.forward()
    with pytest.raises(GraphError, match="cannot backpropagate to its label"):
        rig.backward()


def test_two_tops_need_two_loss_weights():
    x, labels = np.zeros((2, 3), np.float32), np.zeros(2, np.float32)
    with pytest.raises(GraphError, match="2 tops and 1 loss_weight"):
        make_layer('type: "SoftmaxWithLoss"', x, labels, tops=2)
    text = 'type: "SoftmaxWithLoss" loss_weight: 1 loss_weight: 0'
    np.testing.assert_allclose(make_layer(text, x, labels, tops=2).forward()[1], 1 / 3, rtol=1e-6)


def test_euclidean_loss():
    a, b = (np.random.randn(4, 3, 2).astype(np.float32) for _ in range(2))
    rig = make_layer('type: "EuclideanLoss" loss_weight: 2', a, b)
    np.testing.assert_allclose(rig.forward()[0], ((a - b) ** 2).sum() / 8, rtol=1e-5)
    for diff, sign in zip(rig.backward(), (1, -1)):
        np.testing.assert_allclose(diff, sign * 2 * (a - b) / 4, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("top_k", [1, 2])
def test_accuracy(top_k):
    x = np.random.randn(30, 4).astype(np.float32)
    labels = np.random.randint(0, 4, 30)
    text = f'type: "Accuracy" accuracy_param {{ top_k: {top_k} }}'
    total, each = make_layer(text, x, labels.astype(np.float32), tops=2).forward()
    right = np.array([label in np.argsort(-row)[:top_k] for row, label in zip(x, labels)])
    np.testing.assert_allclose(total, right.mean(), rtol=1e-6)
    np.testing.assert_allclose(each, [right[labels == c].mean() for c in range(4)], rtol=1e-6)


def test_accuracy_ties_count_against_and_nan_counts_for():
    labels = np.array([0, 1, 1], np.float32)
    x = np.array([[1, 1], [0, 2], [np.nan, np.nan]], np.float32)
    np.testing.assert_allclose(make_layer('type: "Accuracy"', x, labels).forward()[0], 2 / 3)
    ignoring = make_layer('type: "Accuracy" accuracy_param { ignore_label: 0 }', x, labels)
    np.testing.assert_allclose(ignoring.forward()[0], 1.0)
