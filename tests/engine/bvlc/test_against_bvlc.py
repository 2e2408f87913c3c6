"""Layers, solvers and stored files against BVLC Caffe, the judge on semantics.

Each layer's net is built by the engine, whose caffemodel BVLC then loads: every case also proves
that the formats agree.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dualnet.engine import random
from dualnet.engine.net import Net
from dualnet.engine.solver import get_solver
from tests.engine.bvlc.cases import CASES, Case, Labels

pytestmark = pytest.mark.bvlc
RUNNER = Path(__file__).with_name("runner.py")


def run_jobs(python: str, folder: Path, jobs: list[dict]) -> None:
    """Runs jobs in one BVLC process."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [python, str(RUNNER), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def prototxt_of(case: Case) -> str:
    """A net of Input layers and the layer of a case."""
    inputs, bottoms = "", ""
    for i, bottom in enumerate(case.bottoms):
        shape = bottom.shape if isinstance(bottom, Labels) else bottom
        dims = " ".join(f"dim: {d}" for d in shape)
        inputs += (
            f'layer {{ name: "in{i}" type: "Input" top: "in{i}" '
            f"input_param {{ shape {{ {dims} }} }} }}\n"
        )
        bottoms += f' bottom: "in{i}"'
    names = ["in0" if case.in_place and k == 0 else f"out{k}" for k in range(case.tops)]
    tops = "".join(f' top: "{name}"' for name in names)
    force = "force_backward: true\n" if case.backward else ""
    return f'{force}{inputs}layer {{ name: "layer" {case.text}{bottoms}{tops} }}\n'


@pytest.fixture(scope="module")
def results(bvlc_python, tmp_path_factory):
    """Both providers' results of every case, by name."""
    folder = tmp_path_factory.mktemp("bvlc")
    draw = np.random.default_rng(5)
    random.set_random_seed(5)
    jobs, ours = [], {}
    for case in CASES:
        path = folder / f"{case.name}.prototxt"
        path.write_text(prototxt_of(case))
        net = Net(path, case.phase)
        arrays = {}
        for i, bottom in enumerate(case.bottoms):
            if isinstance(bottom, Labels):
                values = draw.integers(bottom.classes, size=bottom.shape)
            else:
                values = draw.standard_normal(bottom)
            arrays[f"data:in{i}"] = values.astype(np.float32)
            net.blobs[f"in{i}"].data[...] = arrays[f"data:in{i}"]
        if case.name == "batch_norm_test":
            for blob in net.params["layer"]:
                blob.data[...] = draw.uniform(1, 2, blob.data.shape)
        model = folder / f"{case.name}.caffemodel"
        net.save(model)
        net.forward()
        diffs = [name for name in net.outputs if case.backward and not net.blob_loss_weights[name]]
        for name in diffs:
            values = draw.standard_normal(net.blobs[name].data.shape).astype(np.float32)
            arrays[f"diff:{name}"] = values
            net.blobs[name].diff[...] = values
        if case.backward:
            net.clear_param_diffs()
            net.backward()
        np.savez(folder / f"{case.name}.npz", **arrays)
        ours[case.name] = net
        jobs.append(
            {
                "name": case.name, "net": str(path), "weights": str(model), "phase": case.phase,
                "inputs": [f"in{i}" for i in range(len(case.bottoms))], "diffs": diffs,
                "backward": case.backward,
            }
        )  # fmt: skip
    run_jobs(bvlc_python, folder, jobs)
    return {name: (net, np.load(folder / f"{name}.out.npz")) for name, net in ours.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer(results, case):
    net, theirs = results[case.name]
    close = {"rtol": case.tolerance, "atol": case.tolerance}
    for name, blob in net.blobs.items():
        assert tuple(blob.shape) == theirs[f"data:{name}"].shape
        np.testing.assert_allclose(blob.data, theirs[f"data:{name}"], **close)
        label = name.startswith("in") and isinstance(case.bottoms[int(name[2:])], Labels)
        if case.backward and not label:
            np.testing.assert_allclose(blob.diff, theirs[f"diff:{name}"], **close)
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            np.testing.assert_allclose(blob.data, theirs[f"param:{name}:{index}"], **close)
            if case.backward:
                np.testing.assert_allclose(blob.diff, theirs[f"grad:{name}:{index}"], **close)


TRAIN_NET = """
name: "small"
layer { name: "in" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 8 channels: 3 height: 9 width: 9 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVERS = {
    "fixed": 'lr_policy: "fixed" momentum: 0.9 weight_decay: 0.01',
    "step_l1": 'lr_policy: "step" gamma: 0.5 stepsize: 2 weight_decay: 0.01 '
    'regularization_type: "L1"',
    "exp": 'lr_policy: "exp" gamma: 0.9 momentum: 0.5',
    "inv": 'lr_policy: "inv" gamma: 0.1 power: 0.75 momentum: 0.5',
    "multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 5 momentum: 0.5',
    "poly": 'lr_policy: "poly" power: 2 momentum: 0.5',
    "sigmoid": 'lr_policy: "sigmoid" gamma: 0.2 stepsize: 4 momentum: 0.5',
    "clip": 'lr_policy: "fixed" momentum: 0.9 clip_gradients: 0.3',
    "iter_size": 'lr_policy: "fixed" momentum: 0.9 iter_size: 2 weight_decay: 0.1 '
    "clip_gradients: 1",
    "hdf5": 'lr_policy: "fixed" momentum: 0.9 snapshot_format: HDF5',
}


def by_hand(solver, steps: int, iter_size: int) -> list[float]:
    """Steps as a user does; returns the learning rates."""
    rates = []
    for _ in range(steps):
        solver.net.clear_param_diffs()
        for _ in range(iter_size):
            solver.net.forward()
            solver.net.backward()
        rates.append(solver.lr)
        solver.apply_update()
    return rates


@pytest.fixture(scope="module")
def trained(bvlc_python, tmp_path_factory):
    """Three updates by the engine, a snapshot, then four more by each provider."""
    folder = tmp_path_factory.mktemp("solvers")
    draw = np.random.default_rng(6)
    random.set_random_seed(6)
    data = draw.standard_normal((16, 3, 9, 9)).astype(np.float32)
    labels = draw.integers(5, size=16).astype(np.float32)
    np.savez(folder / "arrays.npz", data=data, labels=labels)
    (folder / "net.prototxt").write_text(TRAIN_NET)
    jobs, ours = [], {}
    for name, settings in SOLVERS.items():
        path = folder / f"{name}.prototxt"
        path.write_text(
            f'net: "{folder}/net.prototxt" base_lr: 0.1 max_iter: 20 display: 0 '
            f'snapshot_prefix: "{folder}/{name}" solver_mode: CPU {settings}\n'
        )
        solver = get_solver(path)
        solver.net.set_input_arrays(data, labels)
        size = solver.param.iter_size
        by_hand(solver, 4, size)  # an even number of batches: MemoryData is at its start again
        solver.snapshot()
        suffix = ".h5" if name == "hdf5" else ""
        state = folder / f"{name}_iter_4.solverstate{suffix}"
        rates = by_hand(solver, 4, size)
        ours[name] = solver, rates
        jobs.append(
            {
                "name": name, "solver": str(path), "state": str(state), "steps": 4,
                "iter_size": size, "arrays": str(folder / "arrays.npz"),
            }
        )  # fmt: skip
    run_jobs(bvlc_python, folder, jobs)
    return folder, {n: (*pair, np.load(folder / f"{n}.out.npz")) for n, pair in ours.items()}


@pytest.mark.parametrize("name", SOLVERS)
def test_solver(trained, name):
    solver, rates, theirs = trained[1][name]
    np.testing.assert_allclose(rates, theirs["rates"], rtol=1e-5)
    assert solver.iter == int(theirs["iter"])
    for layer, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            close = {"rtol": 1e-4, "atol": 1e-5}
            np.testing.assert_allclose(blob.data, theirs[f"param:{layer}:{index}"], **close)
            np.testing.assert_allclose(blob.diff, theirs[f"grad:{layer}:{index}"], **close)


@pytest.mark.parametrize("name", ["fixed", "hdf5"])
def test_their_snapshot_restores_here(trained, name):
    folder, both = trained
    ours = both[name][0]
    solver = get_solver(folder / f"{name}.prototxt")
    suffix = ".h5" if name == "hdf5" else ""
    solver.restore(folder / f"{name}_iter_8.solverstate{suffix}")
    assert solver.iter == 8
    for mine, theirs in zip(ours._rule.history, solver._rule.history):
        np.testing.assert_allclose(mine.data, theirs.data, rtol=1e-4, atol=1e-5)
    for layer, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            close = {"rtol": 1e-4, "atol": 1e-5}
            np.testing.assert_allclose(blob.data, ours.net.params[layer][index].data, **close)
