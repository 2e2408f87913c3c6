"""Solvers and their snapshots against BVLC Caffe: 50 updates, and each resumes the other's run."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.solvers.solver_types import get_solver
from tests.engine.bvlc.jobs import run_jobs
from tests.engine.bvlc.solver_cases import CASES, SAVE_AT, STEPS

pytestmark = pytest.mark.bvlc

# Two convolutions' worth of multipliers: 1 and 2, decay off, a frozen bias, and a frozen layer.
TRAIN_NET = """
name: "small"
layer { name: "in" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 6 channels: 2 height: 6 width: 6 } }
layer { name: "frozen" type: "Convolution" bottom: "data" top: "frozen" param { lr_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 }
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "conv" type: "Convolution" bottom: "frozen" top: "conv" param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  param { lr_mult: 0.5 decay_mult: 3 } param { lr_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 }
    bias_filler { type: "uniform" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def by_hand(solver, steps, save_at=0):
    """Steps as a user does; returns the learning rates."""
    rates = []
    for _ in range(steps):
        solver.net.clear_param_diffs()
        for _ in range(solver.param.iter_size):
            solver.net.forward()
            solver.net.backward()
        rates.append(solver.lr)
        solver.apply_update()
        if solver.iter == save_at:
            solver.snapshot()
    return rates


def state_of(folder, case):
    """The solverstate that a run in this folder leaves."""
    suffix = ".h5" if "HDF5" in case.settings else ""
    return folder / f"{case.name}_iter_{SAVE_AT}.solverstate{suffix}"


@pytest.fixture(scope="module")
def trained(bvlc_python, tmp_path_factory):
    """Runs of both providers, from the start and from each other's snapshots.

    Returns:
        By case: our solver after `STEPS` updates, its rates, our solver resumed from BVLC's
        snapshot, BVLC's own run, and BVLC's run resumed from our snapshot.
    """
    folder = tmp_path_factory.mktemp("solvers")
    random.set_random_seed(6)
    draw = np.random.default_rng(6)
    data = draw.standard_normal((12, 2, 6, 6)).astype(np.float32)
    labels = draw.integers(5, size=12).astype(np.float32)
    np.savez(folder / "arrays.npz", data=data, labels=labels)
    (folder / "net.prototxt").write_text(TRAIN_NET)

    def make(case, place):
        (folder / place).mkdir(exist_ok=True)
        path = folder / place / f"{case.name}.prototxt"
        path.write_text(
            f'net: "{folder}/net.prototxt" snapshot_prefix: "{folder}/{place}/{case.name}" '
            f"solver_mode: CPU {case.settings}\n"
        )
        solver = get_solver(path)
        solver.net.set_input_arrays(data, labels)
        return path, solver

    def job(name, path, steps, iter_size, **start):
        return {
            "name": name, "solver": str(path), "weights": "", "state": "", "steps": steps,
            "save_at": SAVE_AT, "iter_size": iter_size, "arrays": str(folder / "arrays.npz"),
            **start,
        }  # fmt: skip

    jobs, ours = [], {}
    for case in CASES:
        theirs, _ = make(case, "theirs")
        path, solver = make(case, "ours")
        start = folder / f"{case.name}.caffemodel"
        solver.net.save(start)
        ours[case.name] = solver, by_hand(solver, STEPS, SAVE_AT)
        size = solver.param.iter_size
        jobs.append(job(case.name, theirs, STEPS, size, weights=str(start)))
        state = str(state_of(folder / "ours", case))
        jobs.append(job(f"{case.name}.resumed", theirs, STEPS - SAVE_AT, size, state=state))
    run_jobs(bvlc_python, folder, jobs)
    runs = {}
    for case in CASES:
        _, resumed = make(case, "theirs")
        resumed.restore(state_of(folder / "theirs", case))
        assert resumed.iter == SAVE_AT
        by_hand(resumed, STEPS - SAVE_AT)
        outputs = [np.load(folder / f"{case.name}{kind}.out.npz") for kind in ("", ".resumed")]
        runs[case.name] = (*ours[case.name], resumed, *outputs)
    return runs


def assert_same_weights(solver, theirs, tolerance):
    assert solver.iter == int(theirs["iter"]) == STEPS
    for layer, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            expected = theirs[f"param:{layer}:{index}"]
            atol = tolerance * np.abs(expected).max()
            np.testing.assert_allclose(blob.data, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fifty_updates(trained, case):
    solver, rates, _, theirs, _ = trained[case.name]
    np.testing.assert_allclose(rates, theirs["rates"], rtol=1e-5)
    assert_same_weights(solver, theirs, case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_their_snapshot_resumes_here(trained, case):
    _, _, resumed, theirs, _ = trained[case.name]
    assert_same_weights(resumed, theirs, case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_snapshot_resumes_there(trained, case):
    solver, rates, _, _, theirs = trained[case.name]
    np.testing.assert_allclose(rates[SAVE_AT:], theirs["rates"], rtol=1e-5)
    assert_same_weights(solver, theirs, case.tolerance)
