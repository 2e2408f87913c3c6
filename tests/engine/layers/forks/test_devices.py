"""The forks' layers on a GPU: as on the CPU, and what crosses to it and back."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from dualnet.engine.core import device
from dualnet.engine.net.net import Net
from tests.engine.fake_gpu import fake_gpu

REGIONS = np.array([[0, 0, 0, 5, 4], [1, 2, 2, 9, 9], [1, 50, 50, 60, 60]], np.float32)
MAP = (2, 4, 6, 5)
MASK = np.stack([np.random.default_rng(0).permutation(120)[:30] for _ in range(8)])

#: Layer, its bottoms (shapes or values), whether it has to read on the CPU or bring constants.
CASES = {
    "roi": ('type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 }', [MAP, REGIONS], 1),
    "psroi": (
        'type: "PSROIPooling" psroi_pooling_param { output_dim: 1 group_size: 2 spatial_scale: 1 }',
        [MAP, REGIONS],
        1,
    ),
    "smooth_l1": ('type: "SmoothL1Loss"', [MAP, MAP, MAP, MAP], 0),
    "permute": ('type: "Permute" permute_param { order: 0 order: 2 }', [MAP], 0),
    "normalize": ('type: "Normalize" norm_param { channel_shared: false }', [MAP], 0),
    "prior_box": ('type: "PriorBox" prior_box_param { min_size: 2 }', [MAP, (2, 3, 9, 9)], 1),
    "interp": ('type: "Interp" interp_param { zoom_factor: 2 pad_beg: -1 }', [MAP], 0),
    "upsample": ('type: "Upsample"', [MAP, MASK.reshape(MAP)], 0),
    "repeat": ('type: "Upsample" upsample_param { scale: 2 }', [MAP], 0),
    "bn_segnet": ('type: "BN" bn_param { scale_filler { value: 2 } }', [MAP], 0),
    "bn_fixed": ('type: "BN" bn_param { scale_filler { value: 2 } bn_mode: INFERENCE }', [MAP], 0),
    "bn_pspnet": ('type: "BN" bn_param { slope_filler { value: 2 } }', [MAP], 0),
    "bn_frozen": ('type: "BN" bn_param { slope_filler { value: 2 } frozen: true }', [MAP], 0),
    "axpy": ('type: "Axpy"', [(2, 4), MAP, MAP], 0),
    "depthwise": (
        'type: "ConvolutionDepthwise" convolution_param { kernel_size: 3 pad: 1 weight_filler { '
        'type: "xavier" } }',
        [MAP],
        0,
    ),
    "shuffle": ('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', [MAP], 0),
    "relu6": ('type: "ReLU6"', [MAP], 0),
    "floor": (
        'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 ceil_mode: false }',
        [MAP],
        0,
    ),  # fmt: skip
}


@contextlib.contextmanager
def _real_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    try:
        yield None
    finally:
        device.set_mode_cpu()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request):
    """Makes a context with a GPU: gives a Bus where it is a fake one."""
    return fake_gpu if request.param == "fake" else _real_gpu


def run(path, bottoms, bus=None):
    """All blobs and gradients after one pass both ways, and what crossed the bus."""
    draw = np.random.default_rng(5)
    np.random.seed(3)
    net = Net(str(path), 0)
    for index, bottom in enumerate(bottoms):
        given = isinstance(bottom, np.ndarray)
        net.blobs[f"x{index}"].data[...] = bottom if given else draw.standard_normal(bottom)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = draw.uniform(0.5, 1.5, blob.dims)
    for name, blob in net.blobs.items():
        if name == "y" and not net.blob_loss_weights["y"]:
            blob.diff[...] = draw.standard_normal(blob.dims)
        assert blob.data_tensor.device == blob.diff_tensor.device == device.current()
    for blobs in net.params.values():
        assert all(blob.data_tensor.device == device.current() for blob in blobs)
    if bus is not None:
        bus.clear()
    net._forward_on_device(0, len(net.layers) - 1)
    net.clear_param_diffs()
    net._backward(len(net.layers) - 1, 0)
    crossed = bus is not None and bool(bus.up or bus.down)
    found = {name: (blob.data.copy(), blob.diff.copy()) for name, blob in net.blobs.items()}
    found.update(
        {f"{name} {i}": (b.data.copy(), b.diff.copy())
         for name, blobs in net.params.items() for i, b in enumerate(blobs)}
    )  # fmt: skip
    return found, crossed


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_the_cpus(gpu, tmp_path, name):
    text, bottoms, crosses = CASES[name]
    path = tmp_path / "net.prototxt"
    inputs = [b.shape if isinstance(b, np.ndarray) else b for b in bottoms]
    path.write_text(
        "force_backward: true\n"
        + "".join(
            f'input: "x{i}" input_shape {{ {" ".join(f"dim: {d}" for d in shape)} }}\n'
            for i, shape in enumerate(inputs)
        )
        + f'layer {{ name: "l" {text} '
        + " ".join(f'bottom: "x{i}"' for i in range(len(inputs)))
        + ' top: "y" }\n'
    )
    expected, _ = run(path, bottoms)
    with gpu() as bus:
        device.set_mode_gpu()
        found, crossed = run(path, bottoms, bus)
    assert found.keys() == expected.keys() and any(diff.any() for _, diff in expected.values())
    for key, pair in expected.items():
        for mine, theirs in zip(found[key], pair):
            scale = max(float(np.abs(theirs).max(initial=0)), 1e-3)
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5 * scale, err_msg=key)
    assert bus is None or crossed == bool(crosses)
