"""BN of SegNet (two parameters) and of PSPNet (four) against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.proto import caffe_pb2
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

G = '{ type: "gaussian" mean: 1 std: 0.5 }'
SEGNET = f'type: "BN" bn_param {{ scale_filler {G} shift_filler {G} }}'
FIXED = f'type: "BN" bn_param {{ scale_filler {G} shift_filler {G} bn_mode: INFERENCE }}'
PSPNET = f'type: "BN" bn_param {{ slope_filler {G} bias_filler {G} momentum: 0.8 eps: 0.01 }}'
FROZEN = f'type: "BN" bn_param {{ slope_filler {G} bias_filler {G} frozen: true eps: 0.01 }}'
SHAPES = [(4, 3, 2, 5), (6, 3)]


def values(shape=SHAPES[0]):
    return (np.random.randn(*shape) * 2 + 1).astype(np.float32)


def as_channels(vector, x):
    return np.asarray(vector, np.float64).reshape([1, -1] + [1] * (x.ndim - 2))


def normal(x, eps, mean=None, variance=None):
    axes = tuple(i for i in range(x.ndim) if i != 1)
    wide = x.astype(np.float64)
    mean = wide.mean(axes) if mean is None else mean
    variance = wide.var(axes) if variance is None else variance
    return (wide - as_channels(mean, x)) / np.sqrt(as_channels(variance, x) + eps)


def affine(rig, x):
    return [as_channels(rig.layer.blobs[i].data.reshape(-1), x) for i in (0, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
def test_segnets_takes_the_batchs_statistics_in_both_phases(shape, phase):
    x = values(shape)
    rig = make_layer(SEGNET, x, tops=3, phase=phase)
    assert [blob.dims for blob in rig.layer.blobs] == [(1, 3, 1, 1)] * 2
    y, mean, variance = rig.forward()
    scale, shift = affine(rig, x)
    np.testing.assert_allclose(y, scale * normal(x, 1e-9) + shift, rtol=1e-4, atol=1e-5)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    np.testing.assert_allclose(mean.reshape(-1), x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(variance.reshape(-1), x.var(axes), rtol=1e-5)


def test_segnets_inference_mode_only_scales_and_shifts():
    x = values()
    rig = make_layer(FIXED, x)
    scale, shift = affine(rig, x)
    np.testing.assert_allclose(rig.forward()[0], scale * x + shift, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_pspnets_training_moves_its_averages(shape):
    x = values(shape)
    rig = make_layer(PSPNET, x)
    y = rig.forward()[0]
    scale, shift = affine(rig, x)
    np.testing.assert_allclose(y, scale * normal(x, 0.01) + shift, rtol=1e-4, atol=1e-5)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    blobs = rig.layer.blobs
    np.testing.assert_allclose(blobs[2].data.reshape(-1), 0.2 * x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(blobs[3].data.reshape(-1), 0.2 * x.var(axes), rtol=1e-5)
    rig.forward()
    np.testing.assert_allclose(blobs[2].data.reshape(-1), 0.36 * x.mean(axes), rtol=1e-5)


@pytest.mark.parametrize(("text", "phase"), [(PSPNET, 1), (FROZEN, 0), (FROZEN, 1)])
def test_pspnets_averages_are_used_in_test_and_frozen(text, phase):
    x = values()
    rig = make_layer(text, x, phase=phase)
    frozen = text is FROZEN
    np.testing.assert_array_equal(rig.layer.blobs[3].data, float(frozen))
    mean, variance = np.random.randn(3), np.random.uniform(0.5, 2, 3)
    rig.layer.blobs[2].data[...] = mean.reshape(1, 3, 1, 1)
    rig.layer.blobs[3].data[...] = variance.reshape(1, 3, 1, 1)
    scale, shift = affine(rig, x)
    expected = scale * normal(x, 0.01, mean, variance) + shift
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rig.layer.blobs[2].data.reshape(-1), mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "phase", "learnt"),
    [(SEGNET, 0, 2), (FIXED, 0, 2), (PSPNET, 0, 2), (PSPNET, 1, 2), (FROZEN, 0, 0)],
)
def test_gradients(text, phase, learnt):
    x = values((3, 2, 2, 2))
    rig = make_layer(text, x, phase=phase)
    if len(rig.layer.blobs) == 4:
        rig.layer.blobs[3].data[...] = 1.5
    check_gradients(rig, params=range(learnt), tolerance=5e-3)
    for blob in list(rig.layer.blobs)[learnt:]:
        assert not blob.diff.any()


@pytest.mark.parametrize("text", [SEGNET, FIXED, PSPNET, FROZEN])
def test_in_place_it_computes_the_same(text):
    x = values()
    apart, within = make_layer(text, x), make_layer(text, x, in_place=True)
    for a, b in zip(apart.layer.blobs, within.layer.blobs):
        b.data[...] = a.data
    np.testing.assert_array_equal(apart.forward()[0], within.forward()[0])
    g = np.random.randn(*x.shape).astype(np.float32)
    np.testing.assert_allclose(apart.backward(g)[0], within.backward(g)[0], rtol=1e-6)
    for a, b in zip(apart.layer.blobs, within.layer.blobs):
        np.testing.assert_allclose(a.diff, b.diff, rtol=1e-6)


def test_which_of_the_two_it_is():
    x = values()
    count = {
        SEGNET: 2,
        PSPNET: 4,
        'type: "BN"': 2,
        'type: "BN" param { } param { } param { lr_mult: 0 } param { lr_mult: 0 }': 4,
        'type: "BN" bn_param { frozen: false }': 4,
    }
    for text, number in count.items():
        assert len(make_layer(text, x).layer.blobs) == number


@pytest.mark.parametrize(("text", "rates"), [(PSPNET, [2, 1, 0, 0]), (FROZEN, [0, 0, 0, 0])])
def test_running_statistics_have_no_learning_rate(text, rates):
    rig = make_layer(text + " param { lr_mult: 2 }", values())
    assert [spec.lr_mult for spec in rig.layer.layer_param.param] == rates


def test_other_sizes_and_refusals():
    x = values()
    rig = make_layer(SEGNET, x)
    rig.forward()
    rig.bottom[0].reshape(2, 3, 4, 4)
    rig.bottom[0].data[...] = y = values((2, 3, 4, 4))
    scale, shift = affine(rig, y)
    np.testing.assert_allclose(rig.forward()[0], scale * normal(y, 1e-9) + shift, 1e-4, 1e-5)
    rig.bottom[0].reshape(2, 4, 4, 4)
    with pytest.raises(ShapeError, match=r"\(2, 4, 4, 4\) does not have the 3 channels"):
        rig.forward()
    with pytest.raises(ShapeError, match="has no channels"):
        make_layer(SEGNET, x[0, 0, 0])
    with pytest.raises(PrototxtError, match="bn_mode of SegNet's BN and momentum of PSPNet's"):
        make_layer('type: "BN" bn_param { bn_mode: LEARN momentum: 0.5 }', x)
    with pytest.raises(PrototxtError, match="has 2 tops; PSPNet's BN has one"):
        make_layer(PSPNET, x, tops=2)
