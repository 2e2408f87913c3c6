"""Convolution against a direct sum, and gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError, ShapeError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

GAUSS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def direct(x, w, b, stride, pad, dilation, group):
    """(N, C, H, W) convolved by loops, as the definition says."""
    n, c, h, width = x.shape
    out, per_group, kh, kw = w.shape
    padded = np.pad(x, [(0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])])
    rows = (h + 2 * pad[0] - dilation * (kh - 1) - 1) // stride[0] + 1
    columns = (width + 2 * pad[1] - dilation * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, out, rows, columns))
    for o in range(out):
        first = o // (out // group) * per_group
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride[0], j * stride[1]
                patch = padded[
                    :,
                    first : first + per_group,
                    top : top + dilation * (kh - 1) + 1 : dilation,
                    left : left + dilation * (kw - 1) + 1 : dilation,
                ]
                y[:, o, i, j] = (patch * w[o]).sum(axis=(1, 2, 3)) + b[o]
    return y


@pytest.mark.parametrize(
    ("settings", "stride", "pad", "dilation", "group"),
    [
        ("kernel_size: 3", (1, 1), (0, 0), 1, 1),
        ("kernel_size: 3 pad: 1 stride: 2", (2, 2), (1, 1), 1, 1),
        ("kernel_size: 3 pad: 2 dilation: 2 group: 2", (1, 1), (2, 2), 2, 2),
        ("kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1 stride_h: 1 stride_w: 2", (1, 2), (0, 1), 1, 1),
    ],
)
def test_forward(settings, stride, pad, dilation, group):
    x = np.random.randn(2, 4, 6, 5).astype(np.float32)
    rig = make_layer(
        f'type: "Convolution" convolution_param {{ num_output: 6 {settings} {GAUSS} }}', x
    )
    w, b = (blob.data for blob in rig.layer.blobs)
    assert w.shape[:2] == (6, 4 // group)
    expected = direct(x, w, b, stride, pad, dilation, group)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("settings", ["kernel_size: 3 pad: 1 stride: 2", "kernel_size: 2 group: 2"])
def test_gradients(kind, settings):
    x = np.random.randn(2, 2, 3, 4).astype(np.float32)
    check_gradients(
        make_layer(f'type: "{kind}" convolution_param {{ num_output: 4 {settings} {GAUSS} }}', x)
    )


def test_one_and_three_spatial_axes():
    for shape in ((2, 3, 7), (2, 3, 4, 5, 3)):
        x = np.random.randn(*shape).astype(np.float32)
        text = f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 3 {GAUSS} }}'
        rig = make_layer(text, x)
        assert rig.forward()[0].shape == (2, 2, *(n - 2 for n in shape[2:]))
        check_gradients(rig, params=[1])


def test_two_bottoms_share_the_weights():
    a, b = (np.random.randn(1, 2, 4, 4).astype(np.float32) for _ in range(2))
    text = f'type: "Convolution" convolution_param {{ num_output: 3 kernel_size: 3 {GAUSS} }}'
    check_gradients(make_layer(text, a, b, tops=2))


def test_deconvolution_is_the_transpose():
    x = np.random.randn(1, 2, 5, 5).astype(np.float32)
    settings = "num_output: 3 kernel_size: 3 stride: 2 pad: 1 bias_term: false"
    forth = make_layer(f'type: "Convolution" convolution_param {{ {settings} {GAUSS} }}', x)
    y = forth.forward()[0]
    g = np.random.randn(*y.shape).astype(np.float32)
    back = forth.backward(g)[0]
    settings = settings.replace("num_output: 3", "num_output: 2")
    other = make_layer(f'type: "Deconvolution" convolution_param {{ {settings} }}', g)
    other.layer.blobs[0].data[...] = forth.layer.blobs[0].data
    np.testing.assert_allclose(other.forward()[0], back, rtol=1e-4, atol=1e-4)


def test_errors_name_the_layer_and_both_values():
    x = np.zeros((1, 3, 4, 4), np.float32)
    with pytest.raises(ShapeError, match=r"'layer'.*channels \(3\).*group \(2\)"):
        make_layer(
            'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 group: 2 }', x
        )
    with pytest.raises(PrototxtError, match="kernel is"):
        make_layer('type: "Convolution" convolution_param { num_output: 2 }', x)
    with pytest.raises(ShapeError, match="too small"):
        make_layer('type: "Convolution" convolution_param { num_output: 2 kernel_size: 5 }', x)
