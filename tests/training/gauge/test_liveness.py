"""A net1 that does not learn is told: each way in which the thesis's did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualnet.errors import TrainingFailed
from tests.training.pieces import train_both

LOOK = ("liveness.interval=1", "train.max_iter=6", "update.rule=manual")


def warnings():
    lines = Path("run/net1.log").read_text().splitlines()
    return [line.split("] ", 1)[1] for line in lines if line.startswith("W")]


def test_nothing_is_said_of_a_net_that_learns(workdir):
    train_both("run", *LOOK, "update.learning_rate=0.01")
    assert warnings() == []


def test_frozen_net_is_told_once(workdir):
    train_both("run", *LOOK, "coupling.loss=none")
    told = [line for line in warnings() if "have not changed" in line]
    assert len(told) == 1 and told[0].startswith("At iteration 1 net1's weights have not changed")
    assert "loss_weight" in told[0]


def test_frozen_net_can_stop_the_run(workdir):
    with pytest.raises(TrainingFailed, match="weights have not changed for 1 iter.*=warn"):
        train_both("run", *LOOK, "coupling.loss=none", "liveness.frozen=stop")


def test_target_frozen_is_what_was_asked_for(workdir):
    train_both("run", *LOOK, "coupling.target=frozen")
    assert warnings() == []


def test_collapse_of_the_euclidean_loss_is_told(workdir):
    train_both(
        "run", *LOOK, "train.max_iter=40", "coupling.target=activation", "coupling.tie=never",
        "coupling.loss=euclidean", "update.learning_rate=0.2", "liveness.collapse_share=0.8",
    )  # fmt: skip
    told = [line for line in warnings() if "shrunk" in line]
    assert len(told) == 1 and "use coupling.target=gradient" in told[0]


def test_flipped_sign_is_told(workdir):
    train_both("run", *LOOK, "update.ascend=true", "update.learning_rate=0.001")
    told = [line for line in warnings() if "pointed uphill" in line]
    assert len(told) == 1 and told[0].startswith("At iteration 2 ")


def test_check_can_be_switched_off(workdir):
    train_both("run", *LOOK, "coupling.loss=none", "liveness.frozen=ignore")
    assert not any("have not changed" in line for line in warnings())
