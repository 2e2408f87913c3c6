"""A chain of any length is the uncut net: losses and weights, with every schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.cut.split import Request, split, write
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.net.initial import save_initial_weights
from dualnet.training.net.resolve import resolve
from tests.training.chain import train_chain

#: Where the digits net is cut into so many pieces: blobs and dual layers.
CUTS = {
    2: [(["pool2"], ["conv3"])],
    3: [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])],
    4: [(["pool1"], ["conv2"]), (["pool2"], ["conv3"]), (["pool4"], ["ip1"])],
}
QUIET = ("train.max_iter=8", "train.test_interval=4", "train.test_iter=1", "train.display=0",
         "train.batch_size=16", "train.snapshot=0")  # fmt: skip
PARTS = ("train.micro_batches=4",)


@pytest.fixture
def chain(workdir):
    """Makes the config of a chain that begins with the single net's weights, as many pieces."""
    base = cfg.load("configs/digits.yaml", [*QUIET, "seed=5"])
    (weights,) = save_initial_weights(base, ["single"], "initial")
    folders = {}

    def make(pieces, *overrides):
        settings = [*QUIET, f"train.weights=[{weights}]", *overrides]
        config = cfg.load("configs/digits.yaml", [o for o in settings if not o.startswith("cut")])
        if pieces == 1:
            return dataclasses.replace(config, pieces=(config.single,), cuts=())
        if pieces not in folders:
            request = Request(
                "prototxt/digits/single_train_test.prototxt", CUTS[pieces], f"cut{pieces}",
                solver="prototxt/digits/single_solver.prototxt",
            )  # fmt: skip
            result = split(request)
            write(request, result)
            folders[pieces] = result.yaml
        return cfg.load(folders[pieces], settings)

    return make


def distance(one, other):
    """The largest difference of any parameter."""
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("pieces", [2, 3, 4])
@pytest.mark.parametrize("target", ["gradient", "backprop"])
def test_alternating_is_the_single_net(chain, pieces, target):
    single = train_chain(chain(1), "single")
    trained = train_chain(chain(pieces, f"coupling.target={target}"), "chain")
    if target == "backprop":
        assert distance(single.weights(), trained.weights()) == 0
        assert trained.losses[f"net{pieces}"] == single.losses["single"]
    else:
        assert distance(single.weights(), trained.weights()) < 1e-5
        np.testing.assert_allclose(
            trained.losses[f"net{pieces}"], single.losses["single"], rtol=1e-5
        )
    outputs = trained.sessions[f"net{pieces}"].test_outputs
    assert outputs == pytest.approx(single.sessions["single"].test_outputs, rel=1e-5)


@pytest.mark.parametrize("pieces", [2, 3, 4])
@pytest.mark.parametrize("order", ["1f1b", "gpipe"])
@pytest.mark.parametrize("target", ["gradient", "backprop"])
def test_pipelined_is_the_single_net_with_iter_size(chain, workdir, pieces, order, target):
    text = (workdir / "prototxt/digits/single_solver.prototxt").read_text()
    (workdir / "parts.prototxt").write_text(f"{text}\niter_size: 4\n")
    by_solver = chain(1, "train.batch_size=4")
    by_solver = dataclasses.replace(
        by_solver, pieces=(dataclasses.replace(by_solver.single, solver="parts.prototxt"),)
    )
    single = train_chain(by_solver, "single")
    trained = train_chain(
        chain(pieces, "train.schedule=pipelined", *PARTS, f"train.micro_batch_order={order}",
              f"coupling.target={target}"),
        "chain",
    )  # fmt: skip
    assert distance(single.weights(), trained.weights()) < 2e-6
    np.testing.assert_allclose(trained.losses[f"net{pieces}"], single.losses["single"], rtol=1e-5)


def test_micro_batches_are_the_single_nets_iter_size(chain):
    whole, parts = (train_chain(chain(1, *more), f"run{len(more)}") for more in ((), PARTS))
    assert parts.nets["single"].resolved.iter_size == 4
    assert parts.nets["single"].resolved.batch_size == 4
    assert distance(whole.weights(), parts.weights()) < 1e-5


def test_recomputed_activations_are_the_kept_ones(chain):
    pipelined = ("train.schedule=pipelined", *PARTS, "coupling.target=backprop")
    kept = train_chain(chain(3, *pipelined), "kept")
    again = train_chain(chain(3, *pipelined, "train.stale_activations=recompute"), "again")
    assert distance(kept.weights(), again.weights()) < 2e-6


@pytest.mark.parametrize("stale", ["keep", "recompute"])
def test_overlapped_pieces_stand_together_at_the_end(chain, stale):
    overlapped = ("train.schedule=overlapped", f"train.stale_activations={stale}")
    trained = train_chain(chain(3, *overlapped, "train.max_iter=9"), "run")
    assert [session.iteration for session in trained.sessions.values()] == [9, 9, 9]
    # Two pieces above net1, one above net2: so far its batches are ahead of the answers.
    sent = [m.iteration for m in trained.sent["net1", "net2"] if m.kind == "up"]
    assert sent == list(range(9))
    first = train_chain(chain(3, "train.max_iter=9"), "punctual")
    # The first update is by gradients that are not late, all later ones differ.
    assert trained.losses["net3"][0] == pytest.approx(first.losses["net3"][0], rel=1e-6)


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_late_gradients_are_those_of_backprop(chain, pieces):
    settings = ("train.schedule=overlapped", "train.micro_batches=2", "update.learning_rate=0.01")
    one, two = (
        train_chain(chain(pieces, *settings, f"coupling.target={target}"), target)
        for target in ("gradient", "backprop")
    )
    assert distance(one.weights(), two.weights()) < 1e-4


def test_dual_layers_and_their_copies_meet_with_weights_of_one_age(chain):
    """A small gamma shows what they differ by: a tenth of the weight itself, if it were updates."""
    settings = ("train.schedule=overlapped", "train.max_iter=16", "update.learning_rate=0.02",
                "coupling.gamma=0.1")  # fmt: skip
    one, two = (
        train_chain(chain(3, *settings, f"coupling.target={target}"), target)
        for target in ("gradient", "backprop")
    )
    assert distance(one.weights(), two.weights()) < 0.08


def test_a_rule_of_one_cut_alone(chain):
    """`frozen` below, the last cut as it is: the pieces above train on a frozen first one."""
    trained = train_chain(chain(3, "cut1.target=frozen"), "run")
    untrained = train_chain(chain(3, "train.max_iter=1", "cut1.target=frozen"), "short")
    frozen = [f"conv1.{i}" for i in (0, 1)]
    for name in frozen:
        np.testing.assert_array_equal(trained.weights()[name], untrained.weights()[name])
    assert distance(trained.weights(), untrained.weights()) > 0
    losses = [m.arrays["loss"][0] for m in trained.sent["net2", "net1"] if m.kind == "down"]
    assert losses == pytest.approx(trained.losses["net2"])


def test_proximal_target_at_the_last_cut_only(chain):
    trained = train_chain(chain(3, "cut2.target=prox"), "run")
    kinds = {m.kind for m in trained.sent["net2", "net3"]}
    assert {"up", "x", "tie"} <= kinds
    assert "x" not in {m.kind for m in trained.sent["net1", "net2"]}
    single = train_chain(chain(1), "single")
    # An approximation of the gradient, at one cut of two.
    assert 0 < distance(single.weights(), trained.weights()) < 0.05


def test_admm_at_the_last_cut_answers_below_once_a_batch(chain):
    trained = train_chain(chain(3, "cut2.target=admm", "coupling.alternations=2"), "run")
    downs = [m.kind for m in trained.sent["net2", "net1"] if m.kind.startswith("down")]
    assert downs == ["down"] * 8
    assert {"down00", "down01"} <= {m.kind for m in trained.sent["net3", "net2"]}


def test_local_steps_are_the_last_pieces(chain):
    trained = train_chain(chain(3, "train.local_steps=2"), "run")
    assert [nets.solver.iter for nets in trained.nets.values()] == [8, 8, 16]


def test_tie_every_at_each_cut(chain):
    trained = train_chain(chain(3, "coupling.tie=every", "coupling.target=updated"), "run")
    for lower, layer, upper, copy in (
        ("net1", "conv2", "net2", "conv2p"), ("net2", "conv3", "net3", "conv3p")
    ):  # fmt: skip
        one = trained.nets[lower].train.parameters([layer])
        two = trained.nets[upper].train.parameters([copy])
        for (_, values), (_, copied) in zip(one.items(), two.items()):
            np.testing.assert_array_equal(values, copied)


def test_the_meter_of_every_piece_sees_the_true_gradient(chain):
    trained = train_chain(
        chain(3, "coupling.fidelity_interval=2", "train.display=1", "train.max_iter=4"), "run"
    )
    for name in ("net1", "net2"):
        text = Path(f"run/{name}.log").read_text(encoding="utf-8")
        cosines = [
            float(line.rpartition("= ")[2].split()[0])
            for line in text.splitlines()
            if "fidelity_cosine =" in line
        ]
        assert len(cosines) == 2 and min(cosines) > 0.9999
    assert trained.sessions["net3"].iteration == 4


@pytest.mark.parametrize("schedule", ["alternating", "overlapped"])
def test_all_pieces_end_after_the_same_iteration_when_it_has_converged(chain, schedule):
    trained = train_chain(
        chain(3, f"train.schedule={schedule}", "convergence.window=2", "convergence.tolerance=0.9",
              "convergence.residual=1e9", "train.max_iter=20"),
        "run",
    )  # fmt: skip
    last = {session.iteration for session in trained.sessions.values()}
    # Found after the fourth iteration; what the first piece has sent ahead is trained with.
    assert last == {4 if schedule == "alternating" else 6}
    assert all(session.has_converged for session in trained.sessions.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.micro_batches=3"], "batches of 16, and train.micro_batches: 3 does not divide"),
        (["cut2.loss=none"], "no loss of net2 has a loss_weight, so it learns nothing"),
        (["train.micro_batches=4", "coupling.target=updated"],
         "train.micro_batches: 4 with coupling.target: updated"),
    ],
)  # fmt: skip
def test_what_a_middle_piece_cannot_do_is_refused(chain, overrides, message):
    with pytest.raises(ConfigError, match=message):
        resolve(chain(3, *overrides), RunDir("run").piece("net2"))
