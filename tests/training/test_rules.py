"""Every target in both loops: what net1 really learns, against back-propagation."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.report.parse import parse_log
from tests.training.pieces import train_both

#: Plain gradient descent at a small rate: no momentum carries one batch into the next.
MANUAL = ("update.rule=manual", "update.learning_rate=0.01")
LOWER = ("conv1.0", "conv1.1", "conv2.0", "conv2.1")


def moves(run, piece="net1", names=LOWER, last=-1):
    """What training has added to net1's weights below the cut, as one vector."""
    first, final = run.weights[piece][0], run.weights[piece][last]
    return np.concatenate([(final[n] - first[n]).ravel() for n in names]).astype(np.float64)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture
def true_moves(workdir):
    return moves(train_both("true", "coupling.target=backprop", *MANUAL))


def test_backprop_sends_the_gradient_of_the_cut_blob_and_the_loss(workdir):
    run = train_both("run", "coupling.target=backprop", *MANUAL)
    for arrays in run.line.arrays("down").values():
        assert {k: v.shape for k, v in arrays.items()} == {"pool2": (8, 32, 2, 2), "loss": (1,)}
    # net1 has no use for its own copy of conv3.
    assert np.array_equal(run.weights["net1"][0]["conv3.0"], run.weights["net1"][-1]["conv3.0"])
    assert not np.array_equal(run.weights["net1"][0]["conv1.0"], run.weights["net1"][-1]["conv1.0"])


def test_gradient_moves_net1_as_back_propagation_does(workdir, true_moves):
    run = train_both("run", "coupling.target=gradient", *MANUAL)
    np.testing.assert_allclose(moves(run), true_moves, rtol=1e-3, atol=1e-4 * abs(true_moves).max())


def test_gradient_under_the_relative_loss_does_so_too(workdir, true_moves):
    run = train_both(
        "run", "coupling.target=gradient", "coupling.loss=relative", "coupling.gamma=10", *MANUAL
    )
    np.testing.assert_allclose(moves(run), true_moves, rtol=1e-3, atol=1e-3 * abs(true_moves).max())


def test_frozen_net1_does_not_move_and_is_told_the_loss(workdir):
    run = train_both("run", "coupling.target=frozen", *MANUAL, "train.display=1")
    assert not moves(run).any()
    losses = [float(arrays["loss"][0]) for arrays in run.line.arrays("down").values()]
    logged = [row.loss for row in parse_log("run/net1.log").train]
    np.testing.assert_allclose(logged, losses, rtol=1e-4)
    np.testing.assert_allclose(parse_log("run/net1.log").series("loss")[1], losses, rtol=1e-4)


def test_prox_approaches_back_propagation_as_its_penalty_grows(workdir, true_moves):
    errors = []
    for rho in (100.0, 1000.0):
        run = train_both("run", "coupling.target=prox", f"coupling.rho={rho}", *MANUAL)
        errors.append(np.linalg.norm(moves(run) - true_moves) / np.linalg.norm(true_moves))
    # Where z crosses the kink of a ReLU or another maximum, the gradient jumps; without them the
    # error is a tenth (tests/coupling/test_proximal.py).
    assert errors[0] < 0.1 and errors[1] < errors[0] / 2


def test_prox_answers_net1s_own_output_whatever_the_ties(workdir):
    run = train_both("run", "coupling.target=prox", "coupling.tie=never", *MANUAL)
    x, z = run.line.arrays("x")[0]["conv3p"], run.line.arrays("down")[0]["conv3p"]
    # A small step from x, while conv3p of net2 is somewhere else.
    assert 0 < np.linalg.norm(z - x) < 0.1 * np.linalg.norm(x)


def test_net2_learns_from_the_batch_alone_whatever_points_it_tries(workdir):
    tried = train_both("tried", "coupling.target=prox", *MANUAL, "train.max_iter=1")
    plain = train_both("plain", "coupling.target=backprop", *MANUAL, "train.max_iter=1")
    for name, values in plain.weights["net2"][-1].items():
        np.testing.assert_array_equal(tried.weights["net2"][-1][name], values)


# ADMM.


def test_admm_alternates_over_the_exchange(workdir):
    run = train_both("run", "coupling.target=admm", "coupling.alternations=2", "train.max_iter=1")
    assert run.line.kinds() == [
        ("net1", "tie", 0), ("net1", "up", 0),
        ("net1", "x00", 0), ("net2", "down00", 0),
        ("net1", "x01", 0), ("net2", "down01", 0),
    ]  # fmt: skip


def test_admm_moves_net1_along_the_back_propagated_gradient(workdir, true_moves):
    run = train_both("run", "coupling.target=admm", *MANUAL)
    assert cosine(moves(run), true_moves) > 0.99
    np.testing.assert_allclose(np.linalg.norm(moves(run)), np.linalg.norm(true_moves), rtol=0.1)


def test_admm_logs_residuals_that_fall_within_a_batch(workdir):
    train_both(
        "run", "coupling.target=admm", "coupling.alternations=4", *MANUAL, "train.display=1"
    )  # fmt: skip
    log = parse_log("run/net1.log")
    _, first = log.series("first_residual")
    _, last = log.series("primal_residual")
    assert len(first) == 3 and (last < 0.5 * first).all()
    assert len(log.series("dual_residual")[1]) == 3


def test_admm_keeps_the_schedule_in_iterations(workdir):
    run = train_both("run", "coupling.target=admm", "coupling.alternations=3", "train.display=1")
    assert run.nets["net1"].solver.iter == 9 and run.sessions["net1"].iteration == 3
    assert [row.iteration for row in parse_log("run/net1.log").train] == [0, 1, 2]


# The meter.


def metered(target, *overrides):
    train_both(
        "run", f"coupling.target={target}", "coupling.fidelity_interval=2", *MANUAL, *overrides
    )
    log = parse_log("run/net1.log")
    return {
        kind: [log.series(f"fidelity_{kind}{suffix}") for suffix in ("", "_conv1", "_conv2")]
        for kind in ("cosine", "ratio")
    }


def test_meter_reads_one_for_the_exact_rule(workdir):
    for series in metered("gradient").values():
        for iterations, values in series:
            assert iterations.tolist() == [0, 2]
            np.testing.assert_allclose(values, 1.0, atol=1e-4)


def test_meter_tells_an_inexact_rule(workdir):
    series = metered("activation", "coupling.tie=never")
    assert (np.abs(series["cosine"][0][1]) < 0.9).all()


def test_meter_does_not_change_the_training(workdir):
    plain = train_both("plain", "coupling.target=updated", *MANUAL)
    read = train_both("read", "coupling.target=updated", "coupling.fidelity_interval=1", *MANUAL)
    for piece in ("net1", "net2"):
        for name, values in plain.weights[piece][-1].items():
            np.testing.assert_array_equal(read.weights[piece][-1][name], values)


@pytest.mark.parametrize("target", ["prox", "admm"])
def test_meter_reads_near_one_for_the_proximal_rules(workdir, target):
    series = metered(target)
    np.testing.assert_allclose(series["cosine"][0][1], 1.0, atol=0.05)


# What the target `updated` tells net1 (dualnet/coupling): the gradient mixed by p's Gram matrix.


def test_residual_of_updated_is_the_rate_times_gram_matrix_times_gradient(workdir):
    rate = 0.02
    run = train_both(
        "run", "coupling.target=updated", "update.rule=manual", f"update.learning_rate={rate}",
        "train.max_iter=1", "coupling.fidelity_interval=1",
    )  # fmt: skip
    net2 = run.nets["net2"].train
    p = run.line.arrays("up")[0]["pool2"].astype(np.float64)
    z = run.line.arrays("down")[0]["conv3p"].astype(np.float64)
    before = run.weights["net1"][0]  # which conv3p takes over (tie `start`)
    patches = _patches(p)  # (N*H*W, C*9)
    weights = before["conv3.0"].reshape(32, -1).astype(np.float64)
    bias = before["conv3.1"].astype(np.float64)
    y = patches @ weights.T + bias
    g = net2.diff("conv3p").astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 32)  # dL/dy
    gram = patches @ patches.T + 1.0  # the bias is a weight on a constant 1
    residual = y - z.transpose(0, 2, 3, 1).reshape(-1, 32)
    np.testing.assert_allclose(residual, rate * gram @ g, rtol=1e-2, atol=2e-6)


def _patches(p):
    n, _, height, width = p.shape
    padded = np.pad(p, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = [
        padded[:, :, i : i + 3, j : j + 3].reshape(n, -1)
        for i in range(height)
        for j in range(width)
    ]
    return np.stack(rows, axis=1).reshape(n * height * width, -1)
