"""Pieces that die once the criterion of convergence is met, in any order, end all the same."""

from __future__ import annotations

import random

import pytest

from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from tests.training.deaths import POINTS, Deaths, Killed
from tests.training.pieces import load
from tests.training.starting import CHAIN, train_single
from tests.training.test_restart import equal

#: The criterion is met after iteration 3.
SOON = ("convergence.window=2", "convergence.tolerance=0.99", "train.max_iter=50",
        "train.display=1", "train.snapshot=2", "train.test_interval=5", "train.test_iter=1",
        "exchange.restart_grace_s=60")  # fmt: skip
RULES = {
    "files": (),
    "tcp": ("exchange.carrier=tcp",),
    "ahead": ("train.schedule=overlapped", "train.staleness=3"),
    "residual": ("convergence.residual=1e9", "train.schedule=overlapped", "train.staleness=2",
                 "coupling.target=prox"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_deaths_at_the_end_change_nothing(workdir, monkeypatch, rule):
    config = load(*SOON, *RULES[rule])
    with monkeypatch.context() as patch:
        Deaths(patch, {}).both(config, "whole")
    chance = random.Random(rule)
    for number in range(3):
        plan = {
            name: [point + chance.choice(["", "!"]) for point in POINTS if chance.random() < 0.4]
            for name in CHAIN
        }
        with monkeypatch.context() as patch:
            deaths = Deaths(patch, plan)
            deaths.both(config, f"parts{number}")
        assert deaths.errors == [], plan
        assert deaths.deaths, "a plan that nobody died by"
        equal("whole", f"parts{number}")
        for name in CHAIN:
            assert commit.complete(RunDir(f"parts{number}").piece(name))


@pytest.mark.parametrize("rule", [(), ("convergence.residual=1e9", "coupling.target=prox")])
def test_a_checkpoint_between_the_finding_and_the_end_knows_the_end(workdir, monkeypatch, rule):
    # Met after iteration 3; what is ahead is trained with, to iteration 6. The checkpoint of 4 lies
    # between, where the losses alone would have the criterion be met later.
    ahead = ("train.schedule=overlapped", "train.staleness=3", *rule)
    config = load(*SOON, *ahead)
    for run_dir, plan in (("whole", {}), ("parts", {r: ["last iteration"] for r in CHAIN})):
        with monkeypatch.context() as patch:
            deaths = Deaths(patch, plan)
            deaths.both(config, run_dir)
        assert deaths.errors == []
    equal("whole", "parts")
    found = commit.latest(RunDir("parts").piece("net2"))
    assert (found.converged, found.last, found.iteration) == (True, 7, 7)


def test_a_residual_survives_a_restart(workdir, monkeypatch):
    # net1 sends with each batch how near it came; what it sends again must be the same.
    config = load(*SOON, "convergence.residual=1e-9", "coupling.target=activation",
                  "train.max_iter=7")  # fmt: skip
    for run_dir, plan in (("whole", {}), ("parts", {"net1": ["last iteration"]})):
        with monkeypatch.context() as patch:
            deaths = Deaths(patch, plan)
            deaths.both(config, run_dir)
        assert deaths.errors == []
    equal("whole", "parts")


def test_a_single_net_that_has_converged_is_not_trained_on(workdir, monkeypatch):
    config = load(*SOON)
    train_single(config, RunDir("whole"))
    for point in ("complete", "close"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            deaths = Deaths(patch, {"single": [point]})
            deaths.single(config, "parts")
    assert train_single(config, RunDir("parts")).iteration == 4
    equal("whole", "parts", ["single"])
