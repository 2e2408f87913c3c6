"""Axpy, depthwise convolution, ShuffleChannel, ReLU6: each against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def draw(*shape):
    return np.random.randn(*shape).astype(np.float32)


@pytest.mark.parametrize(
    ("factor", "shape"),
    [((2, 3, 1, 1), (2, 3, 4, 2)), ((2, 3), (2, 3, 4, 2)), ((2, 3), (2, 3)), ((2, 3), (2, 3, 5))],
)
def test_axpy(factor, shape):
    a, x, y = draw(*factor), draw(*shape), draw(*shape)
    rig = make_layer('type: "Axpy"', a, x, y)
    expected = a.reshape((2, 3) + (1,) * (len(shape) - 2)) * x + y
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-6, atol=1e-6)
    check_gradients(rig)


def test_axpy_of_other_sizes_and_refusals():
    rig = make_layer('type: "Axpy"', draw(2, 3), draw(2, 3, 4, 4), draw(2, 3, 4, 4))
    for blob, shape in zip(rig.bottom, [(5, 3), (5, 3, 1, 2), (5, 3, 1, 2)]):
        blob.reshape(*shape)
        blob.data[...] = 2
    np.testing.assert_array_equal(rig.forward()[0], np.full((5, 3, 1, 2), 6))
    with pytest.raises(ShapeError, match=r"bottom 0 has shape \(2, 4\); .* it must be \(2, 3\)"):
        make_layer('type: "Axpy"', draw(2, 4), draw(2, 3, 4, 4), draw(2, 3, 4, 4))
    with pytest.raises(ShapeError, match="bottoms 1 and 2 must have the same shape"):
        make_layer('type: "Axpy"', draw(2, 3), draw(2, 3, 4, 4), draw(2, 3, 4, 5))


FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def convolved(x, weight, bias, stride, pad, dilation):
    """Each channel with its own filter."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    extent = dilation * (weight.shape[2] - 1) + 1
    rows, columns = ((n - extent) // stride + 1 for n in padded.shape[2:])
    result = np.zeros((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            part = padded[
                :, :,
                i * stride : i * stride + extent : dilation,
                j * stride : j * stride + extent : dilation,
            ]  # fmt: skip
            result[:, :, i, j] = (part * weight[:, 0]).sum((2, 3)) + bias
    return result


@pytest.mark.parametrize(
    "geometry", [(3, 1, 1, 1), (3, 2, 1, 1), (1, 1, 0, 1), (2, 1, 0, 2), (5, 3, 2, 1)]
)
@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("ConvolutionDepthwise", ""),
        ("ConvolutionDepthwise", "num_output: 4"),
        ("ConvolutionDepthwise", "num_output: 7 group: 5"),
        ("DepthwiseConvolution", "num_output: 4 group: 4"),
    ],
)
def test_depthwise_convolution(geometry, kind, counts):
    kernel, stride, pad, dilation = geometry
    fields = f"{counts} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
    x = draw(2, 4, 6, 5)
    rig = make_layer(f'type: "{kind}" convolution_param {{ {fields} {FILLERS} }}', x)
    weight, bias = (blob.data for blob in rig.layer.blobs)
    assert weight.shape == (4, 1, kernel, kernel)
    expected = convolved(x, weight, bias, stride, pad, dilation)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
def test_depthwise_gradients(kind):
    fields = "num_output: 2 group: 2 kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad: 1"
    text = f'type: "{kind}" convolution_param {{ {fields} {FILLERS} }}'
    check_gradients(make_layer(text, draw(2, 2, 4, 3)))


def test_depthwise_without_bias_has_one_parameter():
    text = 'type: "ConvolutionDepthwise" convolution_param { kernel_size: 1 bias_term: false }'
    assert [blob.dims for blob in make_layer(text, draw(1, 3, 2, 2)).layer.blobs] == [(3, 1, 1, 1)]


@pytest.mark.parametrize("group", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(2, 6, 2, 3), (2, 6)])
@pytest.mark.parametrize("in_place", [False, True])
def test_shuffle_channel(group, shape, in_place):
    x = draw(*shape)
    text = f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}'
    rig = make_layer(text, x, in_place=in_place)
    order = [i * (6 // group) + j for j in range(6 // group) for i in range(group)]
    np.testing.assert_array_equal(rig.forward()[0], x[:, order])
    g = draw(*shape)
    np.testing.assert_array_equal(rig.backward(g)[0], g[:, np.argsort(order)])


def test_shuffle_channel_of_other_sizes_and_refusals():
    rig = make_layer('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', draw(1, 4, 2, 2))
    rig.bottom[0].reshape(1, 6, 1, 1)
    rig.bottom[0].data[...] = np.arange(6).reshape(1, 6, 1, 1)
    np.testing.assert_array_equal(rig.forward()[0].reshape(-1), [0, 3, 1, 4, 2, 5])
    text = 'type: "ShuffleChannel" shuffle_channel_param { group: %d }'
    with pytest.raises(ShapeError, match=r"\(1, 4, 2, 2\) must be a multiple of group 3"):
        make_layer(text % 3, draw(1, 4, 2, 2))
    with pytest.raises(PrototxtError, match="group 0; it must be above 0"):
        make_layer(text % 0, draw(1, 4, 2, 2))
    with pytest.raises(GraphError, match="exactly 1"):
        make_layer(text % 2, draw(1, 4), draw(1, 4))


@pytest.mark.parametrize("slope", [0, 0.5])
@pytest.mark.parametrize("in_place", [False, True])
def test_relu6(slope, in_place):
    x = np.array([[-8, -1, 0, 1, 5.9, 6, 6.1, 50]], np.float32)
    text = f'type: "ReLU6" relu6_param {{ negative_slope: {slope} }}'
    rig = make_layer(text, x, in_place=in_place)
    y = rig.forward()[0]
    np.testing.assert_allclose(y, [[-8 * slope, -slope, 0, 1, 5.9, 6, 6, 6]], rtol=1e-6)
    gradient = rig.backward(np.ones_like(x))[0]
    np.testing.assert_allclose(gradient, [[slope, slope, slope, 1, 1, 0, 0, 0]])


def test_relu6_gradients():
    x = np.random.uniform(-4, 10, (3, 7)).astype(np.float32)
    x[np.abs(x) < 0.1] = 1
    rig = make_layer('type: "ReLU6" relu6_param { negative_slope: 0.3 }', x)
    check_gradients(rig, avoid=6, avoid_range=0.1)
