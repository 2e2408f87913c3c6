"""The training loss in the log: when it is shown, of how many iterations, and if it is NaN."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dualnet.config import Convergence
from dualnet.errors import TrainingFailed
from dualnet.report.log import CaffeLog
from dualnet.training.loop.training_lines import TrainingLines
from tests.training.loop.test_session import messages


@pytest.fixture
def lines(tmp_path):
    """Makes the lines of a piece without nets."""

    def make(stop_on_nan=True, display=1, average_loss=1):
        nets = SimpleNamespace(
            resolved=SimpleNamespace(
                solver=SimpleNamespace(average_loss=average_loss), display=display
            ),
            config=SimpleNamespace(
                train=SimpleNamespace(stop_on_nan=stop_on_nan), convergence=Convergence()
            ),
            name="net2",
            train=SimpleNamespace(outputs=lambda: []),
            update_rule=SimpleNamespace(rate=lambda: 0.5),
        )
        logs.append(CaffeLog(tmp_path / "log"))
        return TrainingLines(nets, logs[-1])

    logs = []
    yield make
    for log in logs:
        log.close()


@pytest.mark.parametrize(("display", "expected"), [(1, range(10)), (4, [0, 4, 8]), (0, [])])
def test_losses_are_shown_at_the_interval(lines, tmp_path, display, expected):
    made = lines(display=display)
    for iteration in range(10):
        made.show(iteration, float(iteration))
    shown = [line for line in messages(tmp_path / "log") if ", loss" in line]
    assert shown == [f"Iteration {i} (speed), loss = {i}" for i in expected]


def test_shown_loss_is_the_mean_of_the_last_ones(lines):
    made = lines(average_loss=3)
    shown = []
    for iteration, loss in enumerate([1.0, 2.0, 6.0, 10.0, 5.0]):
        made.show(iteration, loss)
        shown.append(made.loss)
    assert shown == pytest.approx([1.0, 1.5, 3.0, 6.0, 7.0])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_run_after_its_line(lines, tmp_path, loss):
    made = lines()
    made.show(0, 1.0)
    with pytest.raises(
        TrainingFailed, match=f"net2: the loss is {loss} at iteration 1.*stop_on_nan"
    ):
        made.show(1, loss)
    assert f"Iteration 1 (speed), loss = {loss}" in messages(tmp_path / "log")


def test_loss_that_is_no_number_may_be_allowed(lines):
    made = lines(stop_on_nan=False)
    made.show(0, float("nan"))
    assert np.isnan(made.loss)


def test_further_series_are_asked_for_only_when_there_is_a_line(lines, tmp_path):
    made = lines(display=2)
    asked = []
    for iteration in range(3):
        made.show(iteration, 0.0, lambda: asked.append(1) or {"norm": 2.5})
    assert len(asked) == 2
    assert "    Train net output #0: norm = 2.5" in messages(tmp_path / "log")
