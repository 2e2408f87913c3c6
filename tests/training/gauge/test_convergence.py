"""The convergence criterion: windows of losses, and both pieces ending together."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.config import Convergence
from dualnet.report.parse import parse_log
from dualnet.training.gauge.convergence import has_converged, relative_residual
from tests.training.pieces import train_both

WINDOW = Convergence(window=3, tolerance=0.1)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([5, 5, 5, 5, 5], False),  # less than two windows
        ([5, 5, 5, 5, 5, 5], True),
        ([9, 9, 9, 5, 5, 5, 5, 5, 5], True),  # only the last two windows count
        ([5, 5, 5, 4.4, 4.4, 4.4], False),  # 12 % lower
        ([5, 5, 5, 4.6, 4.6, 4.6], True),  # 8 % lower
        ([5, 5, 5, 6, 6, 6], True),  # it rises
        ([-5, -5, -5, -5.6, -5.6, -5.6], False),  # losses may be negative, as ADMM's
    ],
)
def test_windows(losses, expected):
    assert has_converged(WINDOW, losses) is expected


def test_window_of_zero_never_converges():
    assert not has_converged(Convergence(), [1.0] * 100)


def test_residual_has_to_be_small_as_well():
    settings = Convergence(window=1, tolerance=0.1, residual=0.05)
    assert not has_converged(settings, [1, 1], None)
    assert not has_converged(settings, [1, 1], 0.05)
    assert has_converged(settings, [1, 1], 0.04)


def test_relative_residual():
    x = np.array([[3.0, 4.0]], np.float32)
    assert relative_residual(x, x - np.float32(0.5)) == pytest.approx(np.sqrt(0.5) / 5)
    assert relative_residual(0 * x, x) == 0.0


# A tolerance that every training meets at once.
SOON = (
    "convergence.window=2",
    "convergence.tolerance=0.99",
    "train.max_iter=50",
    "train.display=1",
)


@pytest.mark.parametrize("target", ["gradient", "prox", "admm", "backprop", "frozen"])
def test_both_pieces_end_after_the_same_iteration(workdir, target):
    run = train_both(
        "run", f"coupling.target={target}", *SOON, "train.test_interval=50", "train.test_iter=1"
    )
    assert {name: s.iteration for name, s in run.sessions.items()} == {"net1": 4, "net2": 4}
    assert len(run.weights["net1"]) == len(run.weights["net2"]) == 5
    # The weights that it ends with are tested.
    assert [row.iteration for row in parse_log("run/net2.log").tests[0]] == [0, 4]
    for name in ("net1", "net2"):
        log = parse_log(f"run/{name}.log")
        assert log.done and [row.iteration for row in log.train] == [0, 1, 2, 3]


def test_residual_travels_with_the_batch(workdir):
    near = train_both("near", *SOON, "convergence.residual=1e9")
    far = train_both("far", *SOON, "convergence.residual=1e-9", "train.max_iter=6")
    assert near.sessions["net2"].iteration == 4 and far.sessions["net2"].iteration == 6
    sent = far.line.arrays("up")
    assert all(arrays["residual"].shape == (1,) for arrays in sent.values())
    assert sent[0]["residual"][0] == 0 and sent[1]["residual"][0] > 0
