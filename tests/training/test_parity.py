"""BVLC Caffe and the engine, given the same start and data, train the same and score the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dualnet.report.parse import parse_log

pytestmark = pytest.mark.bvlc

ITERATIONS = 50
COMMANDS = {"single": "single", "train": "net2"}
CONFIG = "configs/digits.yaml"


@pytest.fixture
def providers(dualnet, bvlc_python):
    """Run the command on a provider by name."""

    def run(provider, *arguments):
        python = {"bvlc": bvlc_python}.get(provider)
        done = dualnet(*arguments, python=python, env={"DUALNET_CAFFE": provider})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def losses_of(path):
    return np.array([row.loss for row in parse_log(str(path)).train])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_fifty_iterations_on_both_providers(providers, workdir, bvlc_python, command):
    names = ["single"] if command == "single" else ["net1", "net2"]
    init = providers("engine", "init", CONFIG, *names, "-o", "initial").split()
    settings = []
    for item in (
        f"train.max_iter={ITERATIONS}",
        "train.display=1",
        "train.test_interval=0",
        f"train.weights=[{','.join(init)}]",
    ):
        settings += ["--set", item]
    losses = {}
    for provider in ("bvlc", "engine"):
        providers(provider, command, CONFIG, "--run-dir", provider, *settings)
        losses[provider] = losses_of(workdir / provider / f"{COMMANDS[command]}.log")
    assert len(losses["bvlc"]) == len(losses["engine"]) == ITERATIONS
    assert losses["engine"][0] == pytest.approx(losses["bvlc"][0], rel=1e-5)
    np.testing.assert_allclose(losses["engine"], losses["bvlc"], rtol=1e-3)


@pytest.mark.parametrize("trained_on", ["bvlc", "engine"])
def test_a_net_scores_the_same_on_the_other_provider(providers, workdir, trained_on):
    short = ["--set", "train.max_iter=150", "--set", "train.test_interval=0"]
    providers(trained_on, "train", CONFIG, "--run-dir", "run", *short)
    scores = {
        provider: json.loads(providers(provider, "evaluate", "run"))
        for provider in ("bvlc", "engine")
    }
    assert scores["bvlc"]["accuracy"] == pytest.approx(scores["engine"]["accuracy"], abs=1e-5)
    assert scores["bvlc"]["loss"] == pytest.approx(scores["engine"]["loss"], rel=1e-5)
    assert scores["bvlc"]["accuracy"] > 0.3, "it must have learnt something"
