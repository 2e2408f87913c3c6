"""Stochastic pooling against its definition; BVLC Caffe has it on the GPU only."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.proto import caffe_pb2
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

CASES = [(2, 2, (6, 6)), (3, 2, (6, 7)), (3, 1, (5, 4)), (2, 3, (7, 6)), (1, 1, (2, 3))]


def stochastic(kernel, stride, x, phase=caffe_pb2.TRAIN):
    random.set_random_seed(5)
    geometry = f"kernel_size: {kernel} stride: {stride}"
    text = f'type: "Pooling" pooling_param {{ pool: STOCHASTIC {geometry} }}'
    return make_layer(text, x, phase=phase)


def windows(shape, kernel, stride, rows, columns):
    """Yields each window's place in the top and its slices of the bottom, unless it is empty."""
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            if top < shape[2] and left < shape[3]:
                yield (i, j), (slice(top, top + kernel), slice(left, left + kernel))


@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_training_takes_one_pixel_of_each_window_and_sends_its_gradient_there(kernel, stride, size):
    x = np.random.permutation(np.arange(1, 7 * np.prod(size) + 1))[: 6 * np.prod(size)]
    x = x.reshape(2, 3, *size).astype(np.float32)  # no value twice: each tells its place
    rig = stochastic(kernel, stride, x)
    (y,) = rig.forward()
    gradient = np.random.randn(*y.shape).astype(np.float32)
    expected = np.zeros_like(x)
    for (i, j), (rows, columns) in windows(x.shape, kernel, stride, *y.shape[2:]):
        hits = x[:, :, rows, columns] == y[:, :, i, j, None, None]
        assert (hits.sum(axis=(2, 3)) == 1).all()
        expected[:, :, rows, columns] += hits * gradient[:, :, i, j, None, None]
    (found,) = rig.backward(gradient)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_training_draws_in_proportion_to_the_values():
    planes = 40_000
    x = np.tile(np.array([[1, 2], [0, 5]], np.float32), (planes, 1, 1, 1))
    (y,) = stochastic(2, 2, x).forward()
    for value, share in ((1, 1 / 8), (2, 2 / 8), (0, 0), (5, 5 / 8)):
        deviation = np.sqrt(share * (1 - share) / planes)
        assert abs((y == value).mean() - share) <= 4 * deviation, value


def test_a_window_of_zeros_takes_its_first_pixel():
    rig = stochastic(2, 2, np.zeros((1, 1, 2, 4), np.float32))
    (y,) = rig.forward()
    assert not y.any()
    np.testing.assert_array_equal(
        rig.backward(np.array([[[[3, 4]]]], np.float32))[0], [[[[3, 0, 4, 0], [0, 0, 0, 0]]]]
    )


def test_a_seed_repeats_the_draw():
    x = np.random.rand(2, 3, 8, 8).astype(np.float32)
    first = stochastic(3, 2, x).forward()[0]
    rig = stochastic(3, 2, x)
    np.testing.assert_array_equal(rig.forward()[0], first)
    assert (rig.forward()[0] != first).any()


@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_testing_weights_values_by_themselves(kernel, stride, size):
    x = np.maximum(np.random.randn(2, 3, *size), 0).astype(np.float32)
    x[0, 0] = 0
    (y,) = stochastic(kernel, stride, x, caffe_pb2.TEST).forward()
    expected = np.zeros(y.shape)
    for (i, j), (rows, columns) in windows(x.shape, kernel, stride, *y.shape[2:]):
        patch = x[:, :, rows, columns].astype(np.float64)
        total = patch.sum(axis=(2, 3))
        mean = (patch**2).sum(axis=(2, 3)) / np.where(total > 0, total, 1)
        expected[:, :, i, j] = np.where(total > 0, mean, 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_gradient_in_testing(kernel, stride, size):
    x = np.random.uniform(0.5, 2, (1, 2, *size)).astype(np.float32)
    check_gradients(stochastic(kernel, stride, x, caffe_pb2.TEST))
