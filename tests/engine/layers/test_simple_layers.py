"""Activations, InnerProduct, LRN, Eltwise, Concat, BatchNorm, Scale, Dropout: values, gradients."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.proto import caffe_pb2
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

TEST = caffe_pb2.TEST


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ('type: "ReLU"', lambda x: np.maximum(x, 0)),
        ('type: "ReLU" relu_param { negative_slope: 0.1 }', lambda x: np.where(x > 0, x, 0.1 * x)),
        ('type: "Sigmoid"', lambda x: 1 / (1 + np.exp(-x))),
        ('type: "TanH"', np.tanh),
    ],
)
def test_activations_in_place_and_not(text, function):
    x, g = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    apart, in_place = make_layer(text, x), make_layer(text, x, in_place=True)
    np.testing.assert_allclose(apart.forward()[0], function(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(in_place.forward()[0], function(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(apart.backward(g)[0], in_place.backward(g)[0], rtol=1e-5, atol=1e-6)
    check_gradients(apart, avoid=0.0, avoid_range=0.02)


def test_relu_has_no_gradient_at_zero():
    rig = make_layer('type: "ReLU"', np.array([[-1, 0, 2]], np.float32))
    rig.forward()
    np.testing.assert_array_equal(rig.backward(np.ones((1, 3)))[0], [[0, 0, 1]])


@pytest.mark.parametrize("transpose", ["true", "false"])
@pytest.mark.parametrize(("axis", "k"), [(1, 24), (2, 12), (-1, 4)])
def test_inner_product(transpose, axis, k):
    x = normal(3, 2, 3, 4)
    rig = make_layer(
        f'type: "InnerProduct" inner_product_param {{ num_output: 5 axis: {axis} '
        f'transpose: {transpose} weight_filler {{ type: "gaussian" std: 0.3 }} '
        'bias_filler { type: "uniform" } }',
        x,
    )
    w, b = (blob.data for blob in rig.layer.blobs)
    assert w.shape == ((k, 5) if transpose == "true" else (5, k))
    w = w if transpose == "true" else w.T
    leading = x.shape[: axis % 4]
    expected = (x.reshape(-1, k) @ w + b).reshape(*leading, 5)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-4, atol=1e-5)
    if axis == 1:
        check_gradients(rig)


def test_inner_product_refuses_another_size():
    rig = make_layer('type: "InnerProduct" inner_product_param { num_output: 2 }', normal(2, 6))
    rig.bottom[0].reshape(2, 7)
    with pytest.raises(ShapeError, match=r"\(2, 7\) has 7 values.*need 6"):
        rig.forward()


def test_lrn_across_channels():
    x = normal(2, 7, 3, 3) * 2
    rig = make_layer('type: "LRN" lrn_param { local_size: 5 alpha: 2 beta: 0.6 k: 1.5 }', x)
    scale = np.full(x.shape, 1.5)
    for c in range(7):
        scale[:, c] += 2 / 5 * (x[:, max(0, c - 2) : c + 3].astype(float) ** 2).sum(axis=1)
    np.testing.assert_allclose(rig.forward()[0], x * scale**-0.6, rtol=1e-5)
    check_gradients(rig)


def test_lrn_within_channel():
    x = normal(1, 2, 5, 4)
    text = (
        'type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.7 k: 9 '
        "norm_region: WITHIN_CHANNEL }"
    )
    rig = make_layer(text, x)
    padded = np.pad(x.astype(float) ** 2, [(0, 0), (0, 0), (1, 1), (1, 1)])
    mean = sum(padded[:, :, i : i + 5, j : j + 4] for i in range(3) for j in range(3)) / 9
    np.testing.assert_allclose(rig.forward()[0], x * (1 + 2 * mean) ** -0.7, rtol=1e-5)
    check_gradients(rig)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX", "PROD stable_prod_grad: false"])
def test_eltwise(n, operation):
    arrays = [normal(2, 3, 2) * 2 + 0.3 for _ in range(n)]
    coeff = "".join(f" coeff: {c}" for c in (1, -0.5, 2)[:n]) if operation == "SUM" else ""
    rig = make_layer(f'type: "Eltwise" eltwise_param {{ operation: {operation}{coeff} }}', *arrays)
    if operation == "SUM":
        expected = sum(c * a for c, a in zip((1, -0.5, 2), arrays))
    else:
        expected = np.prod(arrays, axis=0) if operation != "MAX" else np.max(arrays, axis=0)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5, atol=1e-6)
    check_gradients(rig, step=1e-3, tolerance=5e-3)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis):
    a, b = normal(2, 3, 4), normal(2, 3, 4)
    rig = make_layer(f'type: "Concat" concat_param {{ axis: {axis} }}', a, b)
    np.testing.assert_array_equal(rig.forward()[0], np.concatenate([a, b], axis))
    check_gradients(rig)


def test_concat_of_different_shapes_names_both():
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
        make_layer('type: "Concat"', normal(2, 3, 4), normal(2, 3, 5))


@pytest.mark.parametrize("in_place", [False, True])
def test_batch_norm_train_and_running_statistics(in_place):
    x = normal(4, 3, 2, 5) * 3 + 1
    rig = make_layer('type: "BatchNorm"', x, in_place=in_place)
    y = rig.forward()[0]
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    expected = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    stored = [blob.data for blob in rig.layer.blobs]
    np.testing.assert_allclose(stored[0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stored[1], var * 40 / 39, rtol=1e-4)
    np.testing.assert_allclose(stored[2], [1])
    g = normal(*x.shape)
    # The gradient of normalisation: remove the parts along 1 and along y.
    centred = g - g.mean(axis=(0, 2, 3), keepdims=True)
    along = (g * expected).mean(axis=(0, 2, 3), keepdims=True) * expected
    wanted = (centred - along) / np.sqrt(var + 1e-5)[:, None, None]
    np.testing.assert_allclose(rig.backward(g)[0], wanted, rtol=1e-3, atol=1e-5)


def test_batch_norm_test_phase_divides_by_the_factor():
    x = normal(4, 3, 2, 2)
    rig = make_layer('type: "BatchNorm"', x, phase=TEST)
    for blob, value in zip(rig.layer.blobs, ([2, 4, 6], [8, 2, 32], [2])):
        blob.data[...] = value
    mean, var = np.array([1, 2, 3.0]), np.array([4, 1, 16.0])
    expected = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5)
    check_gradients(rig, params=[])


def test_batch_norm_statistics_never_learn():
    with pytest.raises(PrototxtError, match="lr_mult 1"):
        make_layer('type: "BatchNorm" param { lr_mult: 1 }', normal(2, 3))


@pytest.mark.parametrize(
    ("settings", "shape"),
    [("", (3,)), ("axis: 0 num_axes: 2", (2, 3)), ("num_axes: -1", (3, 4)), ("num_axes: 0", ())],
)
def test_scale_with_parameters(settings, shape):
    x = normal(2, 3, 4)
    rig = make_layer(
        f'type: "Scale" scale_param {{ {settings} bias_term: true filler {{ type: "gaussian" }} '
        'bias_filler { type: "gaussian" } }',
        x,
    )
    factor, offset = (blob.data for blob in rig.layer.blobs)
    assert factor.shape == offset.shape == shape
    start = 0 if settings.startswith("axis") or not shape else 1
    view = (1,) * start + shape + (1,) * (3 - start - len(shape))
    expected = x * factor.reshape(view) + offset.reshape(view)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5, atol=1e-6)
    check_gradients(rig)


def test_scale_by_a_bottom_and_in_place():
    x, factor = normal(2, 3, 4), normal(3)
    check_gradients(make_layer('type: "Scale"', x, factor))
    apart = make_layer('type: "Scale"', x, factor)
    in_place = make_layer('type: "Scale"', x, factor, in_place=True)
    g = normal(2, 3, 4)
    np.testing.assert_array_equal(apart.forward()[0], in_place.forward()[0])
    for a, b in zip(apart.backward(g), in_place.backward(g)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("in_place", [False, True])
def test_dropout(in_place):
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.25 }'
    x = np.ones((40, 50), np.float32)
    rig = make_layer(text, x, in_place=in_place)
    random.set_random_seed(3)
    y = rig.forward()[0]
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.05
    np.testing.assert_array_equal(rig.backward(x)[0], y)
    other = make_layer(text, x)
    random.set_random_seed(3)
    np.testing.assert_array_equal(other.forward()[0], y)
    assert not np.array_equal(other.forward()[0], y)
    np.testing.assert_array_equal(make_layer(text, x, phase=TEST).forward()[0], x)


def test_split_flatten_silence():
    x = normal(2, 3, 4)
    split = make_layer('type: "Split"', x, tops=3)
    for y in split.forward():
        np.testing.assert_array_equal(y, x)
    g = [normal(2, 3, 4) for _ in range(3)]
    np.testing.assert_allclose(split.backward(*g)[0], g[0] + g[1] + g[2], rtol=1e-6)
    flat = make_layer('type: "Flatten"', x)
    np.testing.assert_array_equal(flat.forward()[0], x.reshape(2, 12))
    np.testing.assert_array_equal(flat.backward(g[0].reshape(2, 12))[0], g[0])
    silence = make_layer('type: "Silence"', x, tops=0)
    silence.bottom[0].diff[...] = 7
    silence.forward()
    assert not silence.backward()[0].any()
