"""The GPU against the CPU: numbers, and what crosses between the two.

Every test runs on a fake GPU (fake_gpu.py), and on a real one where there is one.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from dualnet.engine.core import device, random
from dualnet.engine.errors import DeviceError
from dualnet.engine.layers.common.python import PythonLayer
from dualnet.engine.net.net import Net
from dualnet.engine.solvers.solver_types import get_solver
from tests.engine.bvlc.cases import CASES, Case, Labels
from tests.engine.bvlc.test_against_bvlc import prototxt_of
from tests.engine.fake_gpu import Bus, fake_gpu

#: What the two devices may differ by, of an array's largest magnitude: they add in other orders.
TOLERANCE = 2e-5
#: These read a value of the device because the shape of a result, or an error, depends on it.
READ_BACK = {"embed", "batch_reindex", "filter"}

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 8 dim: 3 dim: 9 dim: 9 } shape { dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { decay_mult: 2 }
        convolution_param { num_output: 6 kernel_size: 3 group: 3 bias_term: false
                            weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "norm" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "norm" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool"
        pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "lrn" type: "LRN" bottom: "pool" top: "lrn" }
layer { name: "ave" type: "Pooling" bottom: "lrn" top: "ave"
        pooling_param { pool: AVE kernel_size: 2 pad: 1 stride: 3 } }
layer { name: "drop" type: "Dropout" bottom: "ave" top: "ave" dropout_param { dropout_ratio: 0 } }
layer { name: "ip" type: "InnerProduct" bottom: "ave" top: "ip"
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
        loss_param { ignore_label: 3 } }
"""
SOLVERS = {
    "SGD": "momentum: 0.9 clip_gradients: 1 iter_size: 2",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.9",
    "AdaDelta": "momentum: 0.95 delta: 1e-4",
    "Adam": "momentum: 0.9 momentum2: 0.999 regularization_type: 'L1'",
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


def write_solver(folder, kind="SGD", more=""):
    """The solver's path."""
    (folder / "net.prototxt").write_text(NET)
    path = folder / "solver.prototxt"
    path.write_text(
        f'net: "{folder}/net.prototxt" type: "{kind}" base_lr: 0.01 lr_policy: "fixed" '
        f'weight_decay: 0.001 random_seed: 7 snapshot_prefix: "{folder}/s" {more}'
    )
    return str(path)


def feed(net):
    """Gives a net one batch."""
    draw = np.random.default_rng(3)
    net.blobs["data"].data[...] = draw.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = draw.integers(5, size=8)


def results(net):
    """Copies of all a net holds, by name."""
    found = {f"data:{name}": blob.data.copy() for name, blob in net.blobs.items()}
    found.update({f"diff:{name}": blob.diff.copy() for name, blob in net.blobs.items()})
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"param:{name}:{index}"] = blob.data.copy()
            found[f"grad:{name}:{index}"] = blob.diff.copy()
    return found


def assert_close(found, expected):
    """Compares arrays by name."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = max(float(np.abs(values).max(initial=0)), 1e-3)
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=TOLERANCE * scale, err_msg=name
        )


@pytest.mark.parametrize("kind", SOLVERS)
def test_training_is_the_cpus(gpu, tmp_path, kind):
    path = write_solver(tmp_path, kind, SOLVERS[kind])

    def train():
        solver = get_solver(path)
        feed(solver.net)
        solver.step(5)
        return results(solver.net)

    expected = train()
    with gpu():
        device.set_mode_gpu()
        found = train()
    assert_close(found, expected)


def run_case(path, case: Case, bus: Bus | None = None):
    """Runs one layer forward and backward; returns all it computes."""
    random.set_random_seed(5)
    draw = np.random.default_rng(5)
    net = Net(str(path), case.phase)
    for i, bottom in enumerate(case.bottoms):
        labels = isinstance(bottom, Labels)
        values = (
            draw.integers(bottom.classes, size=bottom.shape)
            if labels
            else draw.standard_normal(bottom)
        )
        net.blobs[f"in{i}"].data[...] = values
    # Gradients first, so that nothing needs to be read between the passes.
    with torch.no_grad():
        net.reshape()
    for name in net.outputs:
        if case.backward and not net.blob_loss_weights[name]:
            net.blobs[name].diff[...] = draw.standard_normal(net.blobs[name].shape)
    for blob in net.blobs.values():  # brings what was given to the device
        assert blob.data_tensor.device == blob.diff_tensor.device
    for blobs in net.params.values():
        assert all(blob.data_tensor.device == device.current() for blob in blobs)
    if bus is not None:
        bus.clear()
    net._forward_on_device(0, len(net.layers) - 1)
    if case.backward:
        net.clear_param_diffs()
        net._backward(len(net.layers) - 1, 0)
    crossed = None if bus is None else (list(bus.up), list(bus.down))
    return results(net), crossed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer_is_the_cpus_and_nothing_crosses_the_bus(gpu, tmp_path, case):
    path = tmp_path / "net.prototxt"
    path.write_text(prototxt_of(case))
    expected, _ = run_case(path, case)
    with gpu() as bus:
        device.set_mode_gpu()
        found, crossed = run_case(path, case, bus)
    assert_close(found, expected)
    if crossed is not None and case.name not in READ_BACK:
        assert crossed == ([], [])


def test_a_training_step_crosses_nothing(tmp_path):
    path = write_solver(tmp_path, more="momentum: 0.9")
    with fake_gpu() as bus:
        device.set_mode_gpu()
        solver = get_solver(path)
        feed(solver.net)
        solver.step(2)
        bus.clear()
        solver.step(3)
        assert (bus.up, bus.down) == ([], [])
        assert float(solver.net.blobs["loss"].data) > 0
        assert bus.down == [1]


class Doubler(PythonLayer):
    """A user's layer: it computes with NumPy, whatever the net runs on."""

    def setup(self, bottom, top):
        """Has no settings."""

    def reshape(self, bottom, top):
        """The top takes the bottom's shape."""
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        """Doubles."""
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        """Doubles the gradient."""
        bottom[0].diff[...] = 2 * top[0].diff


def test_a_python_layer_runs_amid_the_gpus(gpu, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'force_backward: true layer { name: "x" type: "Input" top: "x" '
        "input_param { shape { dim: 2 dim: 3 } } }\n"
        'layer { name: "a" type: "TanH" bottom: "x" top: "a" }\n'
        'layer { name: "b" type: "Python" bottom: "a" top: "b" '
        f'python_param {{ module: "{__name__}" layer: "Doubler" }} }}\n'
        'layer { name: "c" type: "Power" bottom: "b" top: "c" power_param { power: 2 } }\n'
    )
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    with gpu():
        device.set_mode_gpu()
        net = Net(str(path), 0)
        for factor in (1, 2):  # the second time, everything has been on both sides
            value = factor * x
            np.testing.assert_allclose(
                net.forward(x=value)["c"], 4 * np.tanh(value) ** 2, rtol=1e-5
            )
            found = net.backward(c=np.ones((2, 3), np.float32))["x"]
            slope = 8 * np.tanh(value) * (1 - np.tanh(value) ** 2)
            np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-6)


def test_training_goes_on_elsewhere(gpu, tmp_path):
    """Some steps on the GPU, a snapshot, more on the CPU: as if all were on the CPU."""
    path = write_solver(tmp_path, more="momentum: 0.9")
    solver = get_solver(path)
    feed(solver.net)
    solver.step(6)
    expected = results(solver.net)
    with gpu():
        device.set_mode_gpu()
        solver = get_solver(path)
        feed(solver.net)
        solver.step(2)
        solver.snapshot()
        restored = get_solver(path)
        restored.restore(str(tmp_path / "s_iter_2.solverstate"))
        feed(restored.net)
        restored.step(2)
        device.set_mode_cpu()
        restored.step(2)
        assert restored.iter == 6
        assert_close(results(restored.net), expected)


def test_an_array_held_across_both_devices_stays_live(gpu, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }\n'
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { scale: 3 } }\n'
    )
    with gpu():
        device.set_mode_gpu()
        net = Net(str(path), 0)
        x, y = net.blobs["x"].data, net.blobs["y"].data
        for mode in (device.set_mode_gpu, device.set_mode_cpu, device.set_mode_gpu):
            mode()
            for value in (1, 2):
                x[...] = value
                net.forward()
                np.testing.assert_array_equal(y, np.full(3, 3 * value))
                assert net.blobs["y"].data is not None and (net.blobs["y"].data == y).all()


def test_memory_data_crosses_once_a_batch(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "MemoryData" top: "x" top: "t" memory_data_param { batch_size: 2 '
        "channels: 1 height: 2 width: 2 } }\n"
        'layer { name: "s" type: "Reduction" bottom: "x" top: "s" }\n'
        'layer { name: "u" type: "Reduction" bottom: "t" top: "u" }\n'
    )
    images = np.arange(16, dtype=np.float32).reshape(4, 1, 2, 2)
    with fake_gpu() as bus:
        device.set_mode_gpu()
        net = Net(str(path), 0)
        net.set_input_arrays(images, np.arange(4, dtype=np.float32))
        for expected in (28, 92, 28):
            bus.clear()
            net._forward_on_device(0, 2)
            assert (bus.up, bus.down) == ([8, 2], [])
            assert float(net.blobs["s"].data) == expected
        images[...] = 1  # refilled in place, as users do
        net._forward_on_device(0, 2)
        assert float(net.blobs["s"].data) == 8


def test_a_device_that_is_not_there_is_refused():
    with fake_gpu():
        with pytest.raises(DeviceError, match="GPU 1 is not available.*sees 1 CUDA"):
            device.set_device(1)
        device.set_device(0)
        assert device.current().type == "cpu"  # as in pycaffe, the mode is another setting
        device.set_mode_gpu()
        assert device.current() == torch.device("cuda", 0)
        assert not torch.backends.cudnn.allow_tf32
    assert device.current().type == "cpu"


def test_dropout_and_stochastic_pooling_draw_on_the_gpu(gpu, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'force_backward: true layer { name: "x" type: "Input" top: "x" '
        "input_param { shape { dim: 4 dim: 5 dim: 6 dim: 6 } } }\n"
        'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }\n'
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
        "pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 } }\n"
    )
    with gpu():
        device.set_mode_gpu()
        net = Net(str(path), 0)
        net.blobs["x"].data[...] = np.random.default_rng(0).uniform(1, 2, (4, 5, 6, 6))
        found = []
        for seed in (1, 1, 2):
            random.set_random_seed(seed)
            net.forward()
            for name in ("d", "p"):
                net.blobs[name].diff[...] = 1
            net.backward()
            found.append([net.blobs[n].data.copy() for n in "dp"] + [net.blobs["x"].diff.copy()])
        for first, again, other in zip(*found):
            np.testing.assert_array_equal(first, again)
            assert (first != other).any()
        kept = found[0][0] != 0
        assert 0.4 < kept.mean() < 0.6
        np.testing.assert_allclose(found[0][2].sum(), 2 * kept.sum() + found[0][1].size, rtol=1e-5)
