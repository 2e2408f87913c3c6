"""Batches and images that change their size from iteration to iteration, as in the single net."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write
from dualnet.training.outcome.evaluate import evaluate
from dualnet.training.start import run as run_module
from tests.cut import both
from tests.training import chain, changing
from tests.training.pieces import make_session
from tests.training.starting import train_single
from tests.training.test_restart import equal, run_chain


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    changing.install(str(tmp_path))
    yield str(tmp_path)
    sys.modules.pop("changing_layers", None)


NETS = {"images": changing.pixels(), "last batch": changing.samples()}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("coupling.target=backprop",),
        ("coupling.loss=relative", "coupling.fidelity_interval=2"),
    ],
    ids=lambda given: given[0] if given else "gradient",
)
def test_pieces_train_as_the_single_net(place, net, overrides):
    yaml = changing.cut_in_two(place, NETS[net])
    outcome = both.train_whole_and_cut(yaml, "run", 9, *overrides)
    # float32 carries 6e-8; y - gamma g and back costs two digits of g.
    if "coupling.target=backprop" in overrides:
        del outcome.steps["net1 c2"]  # it plays no part
    assert outcome.step < 2e-3
    assert np.allclose(outcome.losses, outcome.dual_losses, rtol=1e-4)
    assert len(set(outcome.losses)) == 9


@pytest.mark.parametrize(
    "overrides",
    [
        ("coupling.target=activation",),
        ("coupling.target=updated",),
        ("coupling.target=prox", "coupling.rho=10"),
        ("coupling.target=admm", "coupling.loss=euclidean", "coupling.alternations=2"),
        ("coupling.target=frozen",),
        ("coupling.tie=every",),
        ("train.local_steps=2",),
    ],
    ids=lambda given: given[0],
)
def test_every_rule_follows_the_sizes(place, overrides):
    yaml = changing.cut_in_two(place, NETS["images"])
    both.train_pieces(yaml, "run", "train.max_iter=6", "train.display=1", *overrides)
    losses = [row.loss for row in parse_log("run/net2.log").train]
    assert losses and np.isfinite(losses).all()


def gradients(yaml, name, *overrides):
    """What each update of one name would be made of, at learning rate 0."""
    config = cfg.load(yaml, ["train.max_iter=9", "update.learning_rate=0", *overrides])
    os.makedirs("zero", exist_ok=True)
    resolved = resolve(config, RunDir("zero").piece(name))
    write(resolved)
    nets = Nets(config, resolved)
    found = []
    apply = nets.update_rule.apply

    def note(holder):
        found.append(holder.parameter_diffs())
        apply(holder)

    nets.update_rule.apply = note
    return nets, found


@pytest.mark.parametrize("kept", ["keep", "recompute"])
@pytest.mark.parametrize("staleness", [1, 2])
def test_batches_ahead_get_the_gradients_of_their_own_size(place, monkeypatch, kept, staleness):
    yaml = changing.cut_in_two(place, NETS["images"])
    nets, whole = gradients(yaml, "single")
    nets.train.net.save("initial.caffemodel")
    session = make_session(nets)
    PieceLoop(nets, session).run()
    session.log.close()
    made = {}
    found = {}

    def make(config, resolved):
        made[resolved.name], found[resolved.name] = gradients(yaml, resolved.name, *settings)
        return made[resolved.name]

    settings = (
        "train.schedule=overlapped",
        "train.weights=[initial.caffemodel]",
        f"train.staleness={staleness}",
        f"train.stale_activations={kept}",
        "train.stale_momentum=solver",
    )
    monkeypatch.setattr(chain, "Nets", make)
    both.train_pieces(yaml, "zero", *settings, "train.max_iter=9", "update.learning_rate=0")
    assert len(found["net1"]) == len(whole) == 9
    for ours, theirs in zip(found["net1"], whole):
        for name in ("c1.0", "c1.1"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5)


def test_tests_follow_the_sizes_in_the_single_net_and_the_pieces(place):
    yaml = changing.cut_in_two(place, NETS["images"], changing.TESTED)
    train_single(cfg.load(yaml, ["train.max_iter=9"]), RunDir("single"))
    whole = parse_log("single/single.log").tests[0]
    settings = ["train.max_iter=9", "train.weights=[]"]
    both.train_pieces(yaml, "dual", *settings)
    in_pieces = parse_log("dual/net2.log").tests[0]
    assert [row.iteration for row in whole] == [row.iteration for row in in_pieces] == [0, 4, 8, 9]
    assert all(np.isfinite(row.outputs["loss"]) for row in (*whole, *in_pieces))
    # The mean of probabilities of two classes.
    text = Path("single/single.log").read_text()
    assert "Test net output #1: scores = 0.5" in text


def test_single_net_of_a_python_data_layer_is_evaluated_by_what_it_gave(place):
    yaml = changing.cut_in_two(place, NETS["last batch"], changing.TESTED)
    config = cfg.load(yaml, ["train.max_iter=2"])
    train_single(config, RunDir("single"))
    found = evaluate(RunDir("single"), config)
    assert found["samples"] == 4 + 4 + 3 - 0  # the third is the smaller one


# Messages and restarts.


@pytest.fixture
def one_by_one(monkeypatch):
    """Builds one net at a time: Caffe's random numbers belong to the process."""
    lock, real = threading.Lock(), run_module.Nets

    def build(config, resolved):
        with lock:
            return real(config, resolved)

    monkeypatch.setattr(run_module, "Nets", build)


@pytest.mark.parametrize(
    "settings",
    [
        ("exchange.carrier=files",),
        ("exchange.carrier=tcp", "train.schedule=overlapped", "train.staleness=2"),
        ("exchange.dtype=int8", "exchange.dtype_down=float16", "exchange.error_feedback=true"),
    ],
    ids=["files", "tcp ahead", "int8"],
)
def test_crashes_of_either_piece_change_nothing(place, one_by_one, settings):
    yaml = changing.cut_in_two(place, NETS["images"], changing.TESTED)
    short = ("train.max_iter=11", "train.display=1", "train.snapshot=3")

    def make(*overrides):
        return cfg.load(yaml, [*short, *overrides])

    run_chain("whole", *settings, make=make)
    run_chain("parts", *settings, net1=(1, 6, 10), net2=(1, 7), make=make)
    equal("whole", "parts")
    assert "messages sent again, equal to the bit" in Path("parts/net1.log").read_text()
