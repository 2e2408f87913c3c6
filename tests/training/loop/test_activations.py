"""net1 running ahead: the order of messages, and what a late answer is applied to."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.errors import ConfigError
from dualnet.report.parse import parse_log
from tests.training.pieces import load, train_both

MANUAL = ("update.rule=manual", "update.learning_rate=0.01")
AHEAD = ("train.schedule=overlapped",)


def stages(run):
    return [(stage, iteration) for _, stage, iteration in run.line.kinds()]


def sent_by_net1(run):
    return [(s, i) for piece, s, i in run.line.kinds() if piece == "net1"]


def assert_equal(one, two):
    for piece in ("net1", "net2"):
        for name, values in one.weights[piece][-1].items():
            np.testing.assert_array_equal(two.weights[piece][-1][name], values)


@pytest.mark.parametrize("target", ["gradient", "prox", "backprop"])
@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_staleness_zero_is_the_alternating_schedule_to_the_bit(workdir, target, activations):
    overrides = (f"coupling.target={target}", "train.max_iter=4")
    alternating = train_both("alternating", *overrides)
    overlapped = train_both(
        "overlapped", *overrides, *AHEAD, "train.staleness=0",
        f"train.stale_activations={activations}",
    )  # fmt: skip
    assert_equal(alternating, overlapped)


def test_batches_are_sent_before_their_turn(workdir):
    run = train_both("run", *AHEAD, "train.staleness=2", "train.max_iter=5", "coupling.tie=never")
    order = stages(run)
    # All that may be under way is, before the first answer is applied; and never more than that.
    assert sent_by_net1(run) == [("up", i) for i in range(5)]
    for iteration in range(2):
        assert order.index(("up", iteration + 3)) > order.index(("down", iteration))


def test_batches_come_in_the_same_order_as_in_the_alternating_schedule(workdir):
    plain = train_both("plain", "train.max_iter=5", "net1.learning_rate=0")
    for activations in ("keep", "recompute"):
        run = train_both(
            activations, *AHEAD, "train.staleness=2", "train.max_iter=5", "net1.learning_rate=0",
            f"train.stale_activations={activations}",
        )  # fmt: skip
        for iteration, arrays in plain.line.arrays("up").items():
            for name, values in arrays.items():
                np.testing.assert_array_equal(run.line.arrays("up")[iteration][name], values)
        # net1 stands still, so net2 cannot tell the schedules apart.
        for name, values in plain.weights["net2"][-1].items():
            np.testing.assert_array_equal(run.weights["net2"][-1][name], values)


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_answer_is_applied_to_the_activations_that_it_belongs_to(workdir, activations):
    # The meter back-propagates the true gradient of the batch through the activations in use: any
    # other batch's would turn the gradient away.
    train_both(
        "run", *AHEAD, "train.staleness=2", "train.max_iter=6", *MANUAL,
        f"train.stale_activations={activations}", "coupling.fidelity_interval=1",
        "coupling.target=gradient",
    )  # fmt: skip
    iterations, cosine = parse_log("run/net1.log").series("fidelity_cosine")
    assert iterations.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(cosine, 1.0, atol=1e-3)


def test_first_update_is_that_of_the_alternating_schedule(workdir):
    alternating = train_both("alternating", *MANUAL, "coupling.target=backprop")
    overlapped = train_both("overlapped", *MANUAL, "coupling.target=backprop", *AHEAD)
    first, other = (run.weights["net1"][1] for run in (alternating, overlapped))
    for name, values in first.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-6, atol=1e-8)
    # The second one is of a batch that went up before the first.
    assert any(
        not np.array_equal(alternating.weights["net1"][3][name], values)
        for name, values in overlapped.weights["net1"][3].items()
    )


def test_keeping_and_recomputing_agree_while_weights_hardly_move(workdir):
    small = ("update.rule=manual", "update.learning_rate=1e-5", "train.max_iter=4")
    runs = [
        train_both(a, *AHEAD, *small, f"train.stale_activations={a}", "train.staleness=2")
        for a in ("keep", "recompute")
    ]
    moves = [
        np.concatenate(
            [(r.weights["net1"][-1][n] - v).ravel() for n, v in r.weights["net1"][0].items()]
        )
        for r in runs
    ]
    np.testing.assert_allclose(moves[0], moves[1], atol=2e-2 * abs(moves[0]).max())


@pytest.mark.parametrize("target", ["activation", "updated", "prox", "frozen"])
def test_every_target_trains_ahead(workdir, target):
    run = train_both(
        "run", *AHEAD, "train.staleness=1", f"coupling.target={target}", "coupling.tie=start"
    )
    assert {piece: s.iteration for piece, s in run.sessions.items()} == {"net1": 3, "net2": 3}


def test_log_shows_the_loss_of_the_batch_in_turn(workdir):
    for activations in ("keep", "recompute"):
        train_both(
            activations, *AHEAD, "train.staleness=2", "train.max_iter=5", "train.display=1",
            f"train.stale_activations={activations}", *MANUAL,
        )  # fmt: skip
        log = parse_log(f"{activations}/net1.log")
        total, output = [row.loss for row in log.train], log.series("loss")[1]
        # EuclideanLoss is net1's only loss; its weight is 1/gamma.
        np.testing.assert_allclose(total, output / 1000, rtol=1e-4)


def test_outputs_are_fetched_only_for_lines_of_the_log(workdir, monkeypatch):
    # On a GPU each look at them would wait for it and cross the bus.
    from dualnet.training.net.driver import NetDriver

    looks, real = [], NetDriver.outputs
    monkeypatch.setattr(NetDriver, "outputs", lambda net: looks.append(net) or real(net))
    train_both("run", "train.max_iter=4", "train.display=0")
    assert looks == []


def test_tie_every_holds_with_answers_that_are_late(workdir):
    run = train_both("run", *AHEAD, "coupling.tie=every", "train.max_iter=4")
    for index in ("0", "1"):
        np.testing.assert_array_equal(
            run.weights["net1"][-1][f"conv3.{index}"], run.weights["net2"][-1][f"conv3p.{index}"]
        )


def test_nothing_is_under_way_at_a_test(workdir):
    run = train_both(
        "run", *AHEAD, "train.staleness=3", "train.max_iter=4", "train.test_interval=2",
        "train.test_iter=1", "coupling.tie=never",
    )  # fmt: skip
    assert sent_by_net1(run) == [
        ("test00000", 0), ("up", 0), ("up", 1),
        ("test00000", 2), ("up", 2), ("up", 3), ("test00000", 4),
    ]  # fmt: skip


def test_nothing_is_under_way_at_a_checkpoint(workdir):
    run = train_both(
        "run", *AHEAD, "train.staleness=3", "train.max_iter=6", "train.snapshot=3",
        "coupling.tie=never",
    )  # fmt: skip
    order = stages(run)
    assert order.index(("up", 3)) > order.index(("down", 2))


def test_alternations_cannot_be_late():
    with pytest.raises(ConfigError, match="overlapped with target admm"):
        load(*AHEAD, "coupling.target=admm")


def test_convergence_ends_after_what_is_under_way(workdir):
    run = train_both(
        "run", *AHEAD, "train.staleness=2", "train.max_iter=40", "convergence.window=2",
        "convergence.tolerance=0.99",
    )  # fmt: skip
    assert {piece: s.iteration for piece, s in run.sessions.items()} == {"net1": 6, "net2": 6}


# Local steps.


def test_local_steps_are_updates_of_net2_on_the_same_batch(workdir):
    one = train_both("one", *MANUAL, "train.max_iter=1", "train.local_steps=1")
    two = train_both("two", *MANUAL, "train.max_iter=1", "train.local_steps=2")
    # The answer comes from the first pass.
    np.testing.assert_array_equal(
        one.line.arrays("down")[0]["conv3p"], two.line.arrays("down")[0]["conv3p"]
    )
    start, once, twice = one.weights["net2"][0], one.weights["net2"][1], two.weights["net2"][1]
    first, both = (
        np.concatenate([(w[n] - start[n]).ravel() for n in start if not n.startswith("conv3p")])
        for w in (once, twice)
    )
    np.testing.assert_allclose(np.linalg.norm(both), 2 * np.linalg.norm(first), rtol=0.1)


def test_local_steps_keep_the_schedule_in_iterations(workdir):
    run = train_both("run", "train.local_steps=3", "train.display=1")
    assert run.nets["net2"].solver.iter == 9
    rates = [row.learning_rate for row in parse_log("run/net2.log").train]
    plain = train_both("plain", "train.display=1")
    assert plain.nets["net2"].solver.iter == 3
    np.testing.assert_allclose(
        rates, [row.learning_rate for row in parse_log("plain/net2.log").train], rtol=1e-5
    )


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_dual_layers_meet_the_answer_with_the_weights_of_its_time(workdir, activations):
    # Tied after every update, conv3 is conv3p when the answer comes, but not when the batch went
    # up; and with so small a gamma the pull of x - y would turn the gradient away.
    train_both(
        "run", *AHEAD, "train.staleness=2", "train.max_iter=6", "coupling.fidelity_interval=1",
        "coupling.target=gradient", "coupling.tie=every", "coupling.gamma=1",
        f"train.stale_activations={activations}", "net1.learning_rate=0.0001",
    )  # fmt: skip
    _, cosine = parse_log("run/net1.log").series("fidelity_cosine")
    np.testing.assert_allclose(cosine, 1.0, atol=1e-3)
