"""Solvers: the update formula, schedules, the loop's log and snapshots."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.errors import SolverError, WeightsError
from dualnet.engine.solvers.solver_types import SGDSolver, get_solver

NET = """
name: "line"
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
  data_filler { type: "gaussian" } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 } inner_product_param { num_output: 2
  weight_filler { type: "gaussian" } bias_filler { value: 0.5 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


@pytest.fixture
def make(tmp_path):
    """Builds a solver from settings."""

    def build(settings, net=NET, cls=None):
        (tmp_path / "net.prototxt").write_text(net)
        path = tmp_path / "solver.prototxt"
        path.write_text(f'net: "{tmp_path}/net.prototxt" random_seed: 2 {settings}')
        return (cls or get_solver)(path)

    return build


def test_update_is_caffes_formula(make):
    solver = make(
        'base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 weight_decay: 0.01'
    )
    blobs = solver.net.params["ip"]
    weights = [b.data.copy() for b in blobs]
    history = [np.zeros_like(w) for w in weights]
    for i in range(5):
        rate = 0.1 * 0.5 ** (i // 2)
        assert solver.lr == pytest.approx(rate)
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        for k, (mult, decay) in enumerate(((1, 0.01), (2, 0))):
            gradient = blobs[k].diff + decay * weights[k]
            history[k] = 0.9 * history[k] + rate * mult * gradient
            weights[k] = weights[k] - history[k]
        solver.apply_update()
        assert solver.iter == i + 1
        for blob, weight, h in zip(blobs, weights, history):
            np.testing.assert_allclose(blob.data, weight, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(blob.diff, h, rtol=1e-5, atol=1e-6)


def test_clipping_comes_before_iter_size_and_decay(make):
    solver = make(
        'base_lr: 1 lr_policy: "fixed" clip_gradients: 0.5 iter_size: 2 weight_decay: 0.1 '
        'regularization_type: "L1"'
    )
    blobs = solver.net.params["ip"]
    before = [b.data.copy() for b in blobs]
    for b in blobs:
        b.diff[...] = 1  # the norm of 8 ones is above 0.5
    solver.apply_update()
    share = 0.5 / np.sqrt(8) / 2
    np.testing.assert_allclose(
        blobs[0].data, before[0] - share - 0.1 * np.sign(before[0]), rtol=1e-5
    )
    np.testing.assert_allclose(blobs[1].data, before[1] - 2 * share, rtol=1e-5)


def test_step_equals_stepping_by_hand(make):
    settings = 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 9'
    one, two = make(settings), make(settings)
    random.set_random_seed(4)
    one.step(3)
    random.set_random_seed(4)
    for _ in range(3):
        two.net.clear_param_diffs()
        two.net.forward()
        two.net.backward()
        two.apply_update()
    assert one.iter == two.iter == 3
    for a, b in zip(one.net.params["ip"], two.net.params["ip"]):
        np.testing.assert_array_equal(a.data, b.data)


LOGGED = (
    'base_lr: 0.1 lr_policy: "fixed" max_iter: 4 display: 2 test_iter: 3 test_interval: 2 '
    'snapshot: 2 snapshot_prefix: "{}/run" average_loss: 2'
)


def test_the_log_has_caffes_lines_in_caffes_order(make, tmp_path, capfd):
    make(LOGGED.format(tmp_path)).solve()
    lines = capfd.readouterr().err.splitlines()
    prefix = re.compile(r"^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ solver\.py:\d+\] ")
    assert all(prefix.match(line) for line in lines)
    texts = [re.sub(r"-?\d[.\d]*(e-?\d+)?", "#", prefix.sub("", line)) for line in lines]
    test = ["Iteration #, Testing net (##)", "    Test net output ##: loss = # (* # = # loss)"]
    train = [
        "Iteration # (# iter/s, #s/# iters), loss = #",
        "    Train net output ##: loss = # (* # = # loss)",
        "Iteration #, lr = #",
    ]
    saved = ["Snapshotting to binary proto file", "Snapshotting solver state to binary proto file"]
    texts = [next((s for s in saved if t.startswith(s + " ")), t) for t in texts]
    assert texts == [
        "Solving line", "Learning Rate Policy: fixed", *test, *train, *saved, *test, *train, *saved,
        "Iteration #, loss = #", *test, "Optimization Done.",
    ]  # fmt: skip
    assert (tmp_path / "run_iter_2.caffemodel").exists()
    assert (tmp_path / "run_iter_4.solverstate").exists()


def test_test_nets_share_the_weights(make, tmp_path):
    solver = make(LOGGED.format(tmp_path))
    solver.step(1)
    solver.net.params["ip"][0].data[...] = 3
    assert (solver.test_nets[0].params["ip"][0].data == 3).all()


@pytest.mark.parametrize("kind", ["BINARYPROTO", "HDF5"])
def test_restored_training_is_bitwise_the_same(make, tmp_path, kind):
    settings = (
        'base_lr: 0.1 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 4 momentum: 0.9 '
        f'snapshot_prefix: "{tmp_path}/run" snapshot_format: {kind}'
    )
    one = make(settings)
    one.step(3)
    one.snapshot()
    two = make(settings)
    suffix = ".h5" if kind == "HDF5" else ""
    two.restore(tmp_path / f"run_iter_3.solverstate{suffix}")
    for solver in (one, two):
        random.set_random_seed(8)
        solver.step(3)
    assert one.iter == two.iter == 6 and one.lr == two.lr == pytest.approx(0.025)
    for a, b in zip(one.net.params["ip"], two.net.params["ip"]):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_moved_folder_still_restores(make, tmp_path):
    (tmp_path / "old").mkdir()
    solver = make(f'base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}/old/run"')
    solver.step(1)
    solver.snapshot()
    (tmp_path / "old").rename(tmp_path / "new")
    other = make('base_lr: 0.1 lr_policy: "fixed"')
    other.restore(tmp_path / "new" / "run_iter_1.solverstate")
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, other.net.params["ip"][0].data)


def test_callbacks_run_around_the_passes(make):
    solver = make('base_lr: 0.1 lr_policy: "fixed"')
    seen = []
    solver.add_callback(
        lambda: seen.append("start"), lambda: seen.append(solver.net.params["ip"][0].diff.any())
    )
    solver.step(2)
    assert seen == ["start", True, "start", True]


def test_base_lr_may_be_changed(make):
    solver = make('base_lr: 0.1 lr_policy: "fixed"', cls=SGDSolver)
    solver.param.base_lr = 0.5
    assert solver.lr == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('lr_policy: "fixed"', "needs base_lr"),
        ('base_lr: 1 lr_policy: "fix"', "'fix'; the policies are: .*fixed"),
        ('base_lr: 1 lr_policy: "step" gamma: 0.1', "needs stepsize"),
        ('base_lr: 1 lr_policy: "fixed" type: "SGDD"', "'SGDD'; the types are: .*SGD"),
        ('base_lr: 1 lr_policy: "fixed" test_iter: 1', "test_interval above 0"),
        ('base_lr: 1 lr_policy: "fixed" train_net: "x"', "exactly one of net.*net, train_net"),
        ('base_lr: 1 lr_policy: "fixed" average_loss: 0', "average_loss"),
    ],
)
def test_wrong_settings_name_the_file(make, settings, message):
    with pytest.raises(SolverError, match=f"solver.prototxt: .*{message}"):
        make(settings)


def test_an_unwritable_prefix_fails_at_construction(make, tmp_path):
    with pytest.raises(WeightsError, match="cannot write to snapshot prefix"):
        make(f'base_lr: 1 lr_policy: "fixed" snapshot: 5 snapshot_prefix: "{tmp_path}/none/run"')
