"""Chains that `dualnet split` has cut, trained by their loops: their steps are the single net's."""

from __future__ import annotations

import pytest

from tests.cut.both import train_whole_and_cut
from tests.cut.chain import cut_up
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS

pytestmark = pytest.mark.usefixtures("workdir")


def train(name, *overrides, iterations=2):
    """Train a chain and its single net in plain steps, large enough to be measured in float32."""
    text, cuts = CHAINS[name]
    yaml, _ = cut_up(write_single("nets", text), cuts)
    rate = "update.learning_rate=0.05"
    return train_whole_and_cut(yaml, "run", iterations, rate, *overrides)


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("name", CHAINS)
def test_steps_of_a_chain_are_those_of_the_single_net(name, target):
    steps = train(name, f"coupling.target={target}").steps
    if target == "backprop":  # the lower copies of dual layers take no part
        dual = [dual.split() for _, dual in CHAINS[name][1]]
        steps = {
            place: step for place, step in steps.items()
            if not any(place == f"net{n} {layer}" for n, names in enumerate(dual, 1)
                       for layer in names)
        }  # fmt: skip
    assert max(steps.values()) < 1e-4, steps


@pytest.mark.parametrize("order", ["1f1b", "gpipe"])
@pytest.mark.parametrize("name", ["shortcut over a piece", "loss on the middle piece"])
def test_steps_of_a_pipeline_are_those_of_the_single_net(name, order):
    steps = train(
        name, "train.schedule=pipelined", "train.micro_batches=4",
        f"train.micro_batch_order={order}",
    ).steps  # fmt: skip
    assert max(steps.values()) < 1e-4, steps


def test_rules_of_cuts_may_differ():
    """The second cut's lower copy is net2's a2, which learns nothing there."""
    steps = train("shortcuts over pieces", "cut2.target=backprop").steps
    assert steps.pop("net2 a2") == 1
    assert max(steps.values()) < 1e-4, steps


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_losses_of_lower_pieces_are_learnt_ahead_of_the_answers(activations):
    """One iteration is the same however far ahead: with the first batch nothing is stale."""
    outcome = train(
        "losses on all pieces", "train.schedule=overlapped",
        f"train.stale_activations={activations}", "cut1.target=backprop", "cut2.target=backprop",
        "cut3.target=backprop", iterations=1,
    )  # fmt: skip
    upper = {place: step for place, step in outcome.steps.items() if step != 1}
    assert len(upper) == len(outcome.steps) - 3
    assert max(upper.values()) < 1e-4, outcome


def test_gradient_is_measured_as_true_where_a_lower_piece_has_a_loss():
    """The own loss is part of both gradients that are compared."""
    train("losses on all pieces", "coupling.fidelity_interval=1")
    with open("run/net1.log", encoding="utf-8") as file:
        lines = [line for line in file if "fidelity_cosine = " in line]
    assert lines and all(float(line.rpartition("=")[2]) > 0.9999 for line in lines), lines
