"""Im2col against loops over windows and against Convolution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


def im2col(x, settings, **more):
    return make_layer(f'type: "Im2col" convolution_param {{ {settings} }}', x, **more)


def by_hand(x, kernel, stride, pad, dilation):
    """Columns of (N, C, spatial axes…), window by window."""
    spatial = x.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(spatial, kernel, stride, pad, dilation)
    ]
    top = np.zeros((x.shape[0], x.shape[1] * int(np.prod(kernel)), *sizes), np.float32)
    channels = itertools.product(range(x.shape[1]), *(range(k) for k in kernel))
    for row, (c, *place) in enumerate(channels):
        for out in itertools.product(*(range(n) for n in sizes)):
            at = [o * s + k * d for o, s, k, d in zip(out, stride, place, dilation)]
            top[(slice(None), row, *out)] = padded[(slice(None), c, *at)]
    return top


@pytest.mark.parametrize(
    ("shape", "settings", "geometry"),
    [
        ((2, 3, 6, 5), "kernel_size: 3", ([3, 3], [1, 1], [0, 0], [1, 1])),
        (
            (2, 2, 6, 7), "kernel_size: 3 stride: 2 pad: 1 dilation: 2",
            ([3, 3], [2, 2], [1, 1], [2, 2]),
        ),
        (
            (1, 2, 6, 7), "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 3 pad_h: 2 pad_w: 0",
            ([2, 3], [1, 3], [2, 0], [1, 1]),
        ),
        ((2, 2, 9), "kernel_size: 4 stride: 3 pad: 2", ([4], [3], [2], [1])),
        (
            (1, 2, 4, 3, 5),
            "kernel_size: 2 kernel_size: 1 kernel_size: 3 pad: 1 force_nd_im2col: true",
            ([2, 1, 3], [1] * 3, [1] * 3, [1] * 3),
        ),
    ],
)  # fmt: skip
def test_columns(shape, settings, geometry):
    x = normal(*shape)
    rig = im2col(x, settings)
    np.testing.assert_array_equal(rig.forward()[0], by_hand(x, *geometry))
    check_gradients(rig)


@pytest.mark.parametrize("axis", [2, -3])
def test_channels_on_another_axis(axis):
    x = normal(2, 3, 2, 4, 5)
    rig = im2col(x, f"kernel_size: 2 axis: {axis}")
    expected = by_hand(x.reshape(6, 2, 4, 5), [2, 2], [1, 1], [0, 0], [1, 1])
    np.testing.assert_array_equal(rig.forward()[0], expected.reshape(2, 3, 8, 3, 4))
    check_gradients(rig)


def test_a_product_with_weights_is_a_convolution():
    x, settings = normal(2, 3, 6, 5), "kernel_size: 3 stride: 2 pad: 1"
    columns = im2col(x, settings).forward()[0]
    conv = make_layer(
        f'type: "Convolution" convolution_param {{ num_output: 4 bias_term: false {settings} '
        'weight_filler { type: "gaussian" } }',
        x,
    )
    weights = conv.layer.blobs[0].data.reshape(4, -1)
    product = np.einsum("ok,nkhw->nohw", weights, columns)
    np.testing.assert_allclose(conv.forward()[0], product, rtol=1e-4, atol=1e-5)


def test_another_size():
    rig = im2col(normal(1, 2, 4, 4), "kernel_size: 2")
    rig.bottom[0].reshape(2, 3, 5, 3)
    rig.bottom[0].data[...] = x = normal(2, 3, 5, 3)
    expected = by_hand(x, [2, 2], [1, 1], [0, 0], [1, 1])
    np.testing.assert_array_equal(rig.forward()[0], expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "kernel is"),
        ("kernel_size: 0", "kernel is"),
        ("kernel_size: 2 stride: 0", "stride is"),
        ("kernel_size: 5", r"\(2, 3, 4, 4\) is too small for kernel \[5, 5\]"),
        ("kernel_size: 1 axis: 3", "no axis after the channels' axis 3"),
        ("kernel_size: 1 axis: 4", "axis 4 is out of range"),
        ("kernel_size: 1 kernel_h: 2 kernel_w: 2", "exclude the common kernel"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(CaffeError, match=message) as caught:
        im2col(normal(2, 3, 4, 4), settings)
    assert "layer 'layer'" in str(caught.value) and "\n" not in str(caught.value)


def test_not_in_place():
    with pytest.raises(GraphError, match="does not allow in-place"):
        im2col(normal(1, 1, 2, 2), "kernel_size: 1", in_place=True)
