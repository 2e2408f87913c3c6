"""Pooling against Caffe's definition written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def caffe_pool(x, kernel, stride, pad, ceil, mean):
    """`pooling_layer.cpp`, word for word in NumPy."""
    n, c, h, w = x.shape
    rounding = math.ceil if ceil else math.floor
    rows, columns = (rounding((s + 2 * pad - kernel) / stride) + 1 for s in (h, w))
    if pad:
        rows -= (rows - 1) * stride >= h + pad
        columns -= (columns - 1) * stride >= w + pad
    y = np.zeros((n, c, rows, columns))
    where = np.full(y.shape, -1.0)
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, h + pad), min(left + kernel, w + pad)
            area = (bottom - top) * (right - left)
            top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, h), min(right, w)
            patch = x[:, :, top:bottom, left:right].reshape(n, c, -1)
            if mean:
                y[:, :, i, j] = patch.sum(axis=2) / area
            else:
                y[:, :, i, j] = patch.max(axis=2)
                first = patch.argmax(axis=2)
                where[:, :, i, j] = (
                    (first // (right - left) + top) * w + first % (right - left) + left
                )
    return y, where


CASES = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 1), (4, 2, 3), (5, 3, 3), (3, 1, 1), (2, 1, 1)]


@pytest.mark.parametrize(("kernel", "stride", "pad"), CASES)
@pytest.mark.parametrize("mode", ["CEIL", "FLOOR"])
@pytest.mark.parametrize("size", [(6, 7), (5, 9)])
def test_forward(kernel, stride, pad, mode, size):
    x = np.random.randint(-3, 3, (2, 3, *size)).astype(np.float32)  # many ties
    geometry = f"kernel_size: {kernel} stride: {stride} pad: {pad} round_mode: {mode}"
    for method in ("MAX", "AVE"):
        tops = 2 if method == "MAX" else 1
        text = f'type: "Pooling" pooling_param {{ pool: {method} {geometry} }}'
        result = make_layer(text, x, tops=tops).forward()
        y, where = caffe_pool(x, kernel, stride, pad, mode == "CEIL", method == "AVE")
        np.testing.assert_allclose(result[0], y, rtol=1e-5, atol=1e-6)
        if method == "MAX":
            np.testing.assert_array_equal(result[1], where)


@pytest.mark.parametrize(("kernel", "stride", "pad"), CASES)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_gradients(kernel, stride, pad, method):
    x = np.random.permutation(np.arange(30)).reshape(1, 1, 5, 6).astype(np.float32) / 5
    geometry = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
    check_gradients(make_layer(f'type: "Pooling" pooling_param {{ pool: {method} {geometry} }}', x))


def test_stride_above_kernel_keeps_the_window_at_the_edge():
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    y = make_layer('type: "Pooling" pooling_param { kernel_size: 1 stride: 3 }', x).forward()[0]
    lowest = -np.finfo(np.float32).max
    np.testing.assert_array_equal(y[0, 0], [[1, lowest], [lowest, lowest]])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global(method):
    x = np.random.randn(2, 3, 4, 5).astype(np.float32)
    text = f'type: "Pooling" pooling_param {{ pool: {method} global_pooling: true }}'
    expected = x.max(axis=(2, 3)) if method == "MAX" else x.mean(axis=(2, 3))
    y = make_layer(text, x).forward()[0]
    np.testing.assert_allclose(y[:, :, 0, 0], expected, rtol=1e-5)


def test_refusals():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(PrototxtError, match=r"pad \(2, 2\) must be below the kernel \(2, 2\)"):
        make_layer('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', x)
    with pytest.raises(PrototxtError, match="needs kernel_size"):
        make_layer('type: "Pooling" pooling_param { stride: 2 }', x)
    text = 'type: "Pooling" pooling_param { kernel_size: 2 pad: 1 pool: STOCHASTIC }'
    with pytest.raises(PrototxtError, match=r"STOCHASTIC pooling has no padding, pad is \(1, 1\)"):
        make_layer(text, x)


def test_a_bottom_without_rows_is_refused():
    # Found by the fuzzer: with padding the top would have a size, but nothing to choose from.
    text = 'type: "Pooling" pooling_param { kernel_size: 3 pad: 1 }'
    with pytest.raises(ShapeError, match="is too small for"):
        make_layer(text, np.zeros((4, 4, 0, 10), np.float32))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), CASES[:3] + [(1, 1, 0)])
@pytest.mark.parametrize(
    ("fields", "ceil"),
    [
        ("ceil_mode: true", True),
        ("ceil_mode: false", False),
        ("ceil_mode: false round_mode: FLOOR", False),
    ],
)
def test_ceil_mode_of_forks_is_round_mode(method, kernel, stride, pad, fields, ceil):
    x = np.random.randn(2, 3, 8, 7).astype(np.float32)
    geometry = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
    found = make_layer(f'type: "Pooling" pooling_param {{ {geometry} {fields} }}', x).forward()[0]
    expected, _ = caffe_pool(x, kernel, stride, pad, ceil, method == "AVE")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_ceil_mode_and_round_mode_must_agree():
    x = np.zeros((1, 1, 4, 4), np.float32)
    text = 'type: "Pooling" pooling_param { kernel_size: 2 ceil_mode: %s round_mode: %s }'
    for ceil, mode in (("true", "FLOOR"), ("false", "CEIL")):
        with pytest.raises(PrototxtError, match=f"round_mode {mode} contradicts ceil_mode {ceil}"):
            make_layer(text % (ceil, mode), x)
