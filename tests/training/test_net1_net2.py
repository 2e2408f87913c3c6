"""Both loops over an exchange in memory: who says what when, and what that does to weights."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.errors import ManifestMismatch, NeighbourDied
from dualnet.exchange.channel import Message
from dualnet.report.parse import parse_log
from tests.training import pieces
from tests.training.memory_channel import Line, MemoryChannel
from tests.training.pieces import train_both

DUAL = (("conv3.0", "conv3p.0"), ("conv3.1", "conv3p.1"))


def convolution(images, weights, bias):
    """Caffe's Convolution with kernel 3 and pad 1, in double precision: (N, C, H, W)."""
    height, width = images.shape[2:]
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(images), len(weights), height, width)) + bias.reshape(1, -1, 1, 1)
    for i in range(3):
        for j in range(3):
            window = padded[:, :, i : i + height, j : j + width]
            out += np.einsum("nchw,oc->nohw", window, weights[:, :, i, j])
    return out


def up_messages(run):
    return list(run.line.arrays("up").values())


def twins_equal(run, iteration):
    net1, net2 = (run.weights[piece][iteration] for piece in ("net1", "net2"))
    return all(np.array_equal(net1[one], net2[two]) for one, two in DUAL)


# The order of messages.


def test_messages_follow_the_picture(workdir):
    run = train_both("run", "coupling.tie=never", "train.max_iter=2")
    assert run.line.kinds() == [
        ("net1", "up", 0), ("net2", "down", 0),
        ("net1", "up", 1), ("net2", "down", 1),
    ]  # fmt: skip
    assert run.line.states == {"net1": "done", "net2": "done"}


def test_messages_of_ties_and_tests(workdir):
    run = train_both(
        "run", "coupling.tie=every", "train.max_iter=3", "train.test_interval=2",
        "train.test_iter=2",
    )  # fmt: skip
    expected = [("net1", "tie", 0)]
    for iteration in range(3):
        if iteration in (0, 2):
            expected += [("net1", f"test{number:05d}", iteration) for number in range(2)]
        expected += [
            ("net1", "up", iteration),
            ("net2", "down", iteration),
            ("net2", "tie", iteration + 1),
        ]
    # And a test of the final weights, although 3 is no multiple of 2.
    expected += [("net1", f"test{number:05d}", 3) for number in range(2)]
    assert run.line.kinds() == expected


def test_messages_carry_the_cut_blob_the_labels_and_the_answer(workdir):
    run = train_both("run", "train.batch_size=5")
    (up,) = {tuple((k, v.shape, v.dtype.str) for k, v in m.items()) for m in up_messages(run)}
    assert up == (("pool2", (5, 32, 2, 2), "<f4"), ("label", (5,), "<f4"))
    for arrays in run.line.arrays("down").values():
        assert {k: v.shape for k, v in arrays.items()} == {"conv3p": (5, 32, 2, 2)}
    labels = np.concatenate([arrays["label"] for arrays in up_messages(run)])
    assert set(labels) <= set(range(10)) and len(set(labels)) > 1


def test_answer_goes_by_the_layers_name_whatever_its_top_is_called(workdir):
    # net1 has an input conv3p, also where net2 calls the output of its layer conv3p otherwise.
    text = (workdir / "prototxt/digits/net2_train_test.prototxt").read_text()
    text = text.replace('top: "conv3p"', 'top: "y"').replace('bottom: "conv3p"', 'bottom: "y"')
    (workdir / "net2.prototxt").write_text(text)
    solver = (workdir / "prototxt/digits/net2_solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(
        solver.replace("prototxt/digits/net2_train_test.prototxt", "net2.prototxt")
    )
    run = train_both("run", "net2.solver=solver.prototxt")
    assert list(run.line.arrays("down")[0]) == ["conv3p"]


# Ties.


def test_tie_never_leaves_both_their_own_weights(workdir):
    run = train_both("run", "coupling.tie=never")
    assert not any(twins_equal(run, iteration) for iteration in range(4))


def test_tie_start_makes_equal_once(workdir):
    run = train_both("run", "coupling.tie=start", "coupling.target=activation")
    tied = run.line.arrays("tie")
    assert list(tied) == [0]
    initial = run.weights["net1"][0]
    assert sorted(tied[0]) == ["conv3.0", "conv3.1"]
    for name, values in tied[0].items():
        np.testing.assert_array_equal(values, initial[name])
    # Equal weights give equal outputs, so the first answer is what net1 has itself.
    first = convolution(up_messages(run)[0]["pool2"], initial["conv3.0"], initial["conv3.1"])
    np.testing.assert_allclose(run.line.arrays("down")[0]["conv3p"], first, rtol=1e-4, atol=1e-5)
    assert not any(twins_equal(run, iteration) for iteration in (1, 2, 3))


@pytest.mark.parametrize("target", ["gradient", "updated"])
def test_tie_every_makes_equal_after_each_iteration(workdir, target):
    run = train_both("run", "coupling.tie=every", f"coupling.target={target}")
    assert all(twins_equal(run, iteration) for iteration in (1, 2, 3))
    assert not np.array_equal(
        run.weights["net2"][1]["conv3p.0"], run.weights["net2"][3]["conv3p.0"]
    )
    # conv1 and conv2 learn all the same.
    assert not np.array_equal(run.weights["net1"][0]["conv2.0"], run.weights["net1"][3]["conv2.0"])


# Targets, against a convolution of the pool2 that was sent.


@pytest.mark.parametrize(("target", "later"), [("activation", 0), ("updated", 1)])
def test_answer_is_the_output_before_or_after_the_update(workdir, target, later):
    run = train_both("run", f"coupling.target={target}", "coupling.tie=never")
    for iteration, arrays in run.line.arrays("down").items():
        weights = run.weights["net2"][iteration + later]
        other = run.weights["net2"][iteration + 1 - later]
        pool2 = run.line.arrays("up")[iteration]["pool2"]
        expected = convolution(pool2, weights["conv3p.0"], weights["conv3p.1"])
        wrong = convolution(pool2, other["conv3p.0"], other["conv3p.1"])
        np.testing.assert_allclose(arrays["conv3p"], expected, rtol=1e-4, atol=1e-5)
        assert np.abs(expected - wrong).max() > 1e-3


@pytest.mark.parametrize("gamma", [1.0, 1000.0])
def test_answer_is_a_step_down_the_gradient(workdir, gamma):
    run = train_both("run", "coupling.target=gradient", f"coupling.gamma={gamma}")
    net2 = run.nets["net2"].train
    diff = net2.diff("conv3p").astype(np.float64)  # of the last iteration; update leaves it
    assert np.abs(diff).max() > 0
    before = run.weights["net2"][-2]
    y = convolution(up_messages(run)[-1]["pool2"], before["conv3p.0"], before["conv3p.1"])
    expected = y - gamma * len(diff) * diff
    answer = run.line.arrays("down")[2]["conv3p"]
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


# What net1 learns.


@pytest.mark.parametrize("rule", ["solver", "manual"])
def test_frozen_net1_does_not_move_even_under_weight_decay(workdir, rule):
    run = train_both("run", "coupling.loss=none", f"update.rule={rule}")
    assert run.nets["net1"].resolved.is_frozen
    assert run.nets["net1"].resolved.solver.weight_decay > 0
    first, last = run.weights["net1"][0], run.weights["net1"][-1]
    for name, values in first.items():
        np.testing.assert_array_equal(last[name], values, name)
    assert not np.array_equal(run.weights["net2"][0]["ip1.0"], run.weights["net2"][-1]["ip1.0"])


@pytest.mark.parametrize("how", ["coupling.loss=none", "coupling.target=frozen"])
def test_frozen_net1_shows_no_rate_that_a_restart_would_change(workdir, how):
    # Its solver never steps, and a restored one stands at the iteration of its checkpoint.
    train_both("run", how, "train.display=1", "train.max_iter=3")
    assert [row.learning_rate for row in parse_log("run/net1.log").train] == [0.0] * 3
    assert all(row.learning_rate > 0 for row in parse_log("run/net2.log").train)


def test_net1_learns_from_a_loss_with_weight(workdir):
    run = train_both("run", "coupling.loss=normalized", "coupling.target=activation",
                     "coupling.tie=never", "coupling.loss_weight=1")  # fmt: skip
    first, last = run.weights["net1"][0], run.weights["net1"][-1]
    assert all(not np.array_equal(last[name], values) for name, values in first.items())


def test_one_manual_iteration_is_back_propagation_through_the_cut(workdir):
    # Weights of net1 after one update by (7.1) against those of the uncut net.
    settings = ("update.rule=manual", "update.learning_rate=0.1", "train.max_iter=1")
    run = train_both("two", *settings)
    single = pieces.make_nets("single", "one", *settings)
    start = {piece: run.weights[piece][0] for piece in ("net1", "net2")}
    single.train.set_parameters(start["net1"])
    single.train.set_parameters(
        {k: v for k, v in start["net2"].items() if not k.startswith("conv3p")}
    )
    single.train.forward()
    single.train.backward()
    single.update()
    learnt = pieces.weights_of(single)
    for name, values in run.weights["net1"][1].items():
        step = learnt[name] - start["net1"][name]
        np.testing.assert_allclose(
            values - start["net1"][name], step, rtol=1e-3, atol=1e-3 * np.abs(step).max()
        )


def test_log_shows_the_norms_of_both_outputs(workdir):
    train_both("run", "train.display=1")
    log = (workdir / "run" / "net1.log").read_text()
    for iteration in range(3):
        assert f"Iteration {iteration} (" in log
    assert log.count("conv3_norm = ") == log.count("conv3p_norm = ") == 3


# Failures.


def test_loops_out_of_step_are_noticed():
    line = Line()
    net1, net2 = MemoryChannel("net1", line), MemoryChannel("net2", line)
    net1.send(Message("up", 1, {"pool2": np.zeros(1)}))
    with pytest.raises(ManifestMismatch, match="expected up 0, got up 1"):
        net2.receive("up", 0)


def test_error_of_one_loop_reaches_the_other(workdir, monkeypatch):
    def fail(self, iteration, loss, extra=None):
        raise ValueError(f"broken at {iteration}")

    monkeypatch.setattr("dualnet.training.loop.training_lines.TrainingLines.show", fail)
    with pytest.raises(ValueError, match="broken at 0"):
        train_both("run")


def test_end_of_one_piece_ends_the_wait_of_the_other():
    line = Line()
    MemoryChannel("net1", line).close("failed: ValueError: broken")
    with pytest.raises(NeighbourDied, match="left: failed: ValueError: broken"):
        MemoryChannel("net2", line).receive("up", 0)
