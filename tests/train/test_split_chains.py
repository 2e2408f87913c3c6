"""Chains that `dualnet split` has cut, trained by their loops: their steps are the single net's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import caffe
from dualnet.cut.split import Request, split, write
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS
from tests.train.chain import train_chain

pytestmark = pytest.mark.usefixtures("workdir")

ITERATIONS = 2


def settings(*overrides):
    """Two plain steps by hand, large enough to be measured in float32."""
    return [
        f"train.max_iter={ITERATIONS}", "train.test_interval=0", "train.display=1",
        "update.learning_rate=0.05", "train.weights=[initial.caffemodel]", *overrides,
    ]  # fmt: skip


def largest_difference(name, *overrides):
    """Train a chain and its single net; the largest difference of a way that weights went."""
    text, cuts = CHAINS[name]
    path = write_single("nets", text)
    request = Request(path, [(at.split(), dual.split()) for at, dual in cuts], "cut")
    result = split(request)
    write(request, result)
    caffe.set_random_seed(3)
    start = caffe.Net(path, caffe.TRAIN)
    start.save("initial.caffemodel")
    config = cfg.load(result.yaml, settings(*overrides))
    alone = dataclasses.replace(config, pieces=(config.single,), cuts=())
    single = train_chain(alone, "one").weights()
    chain = train_chain(config, "run").weights()
    found = {}
    for key, values in single.items():
        layer, _, index = key.rpartition(".")
        way = np.linalg.norm(values - start.params[layer][int(index)].data)
        found[key] = float(np.linalg.norm(chain[key] - values) / way)
    return found


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("name", CHAINS)
def test_steps_of_a_chain_are_those_of_the_single_net(name, target):
    differences = largest_difference(name, f"coupling.target={target}")
    assert max(differences.values()) < 1e-4, differences


def test_rules_of_cuts_may_differ():
    differences = largest_difference("shortcuts over pieces", "cut2.target=backprop")
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_losses_of_lower_pieces_are_learnt_ahead_of_the_answers(activations):
    """One iteration is the same however far ahead: with the first batch nothing is stale."""
    differences = largest_difference(
        "losses on all pieces", "coupling.target=backprop", "train.schedule=overlapped",
        f"train.stale_activations={activations}", "train.max_iter=1",
    )  # fmt: skip
    assert max(differences.values()) < 1e-4, differences


def test_gradient_is_measured_as_true_where_a_lower_piece_has_a_loss():
    """The own loss is part of both gradients that are compared."""
    largest_difference("losses on all pieces", "coupling.fidelity_interval=1")
    with open("run/net1.log", encoding="utf-8") as file:
        lines = [line for line in file if "fidelity_cosine = " in line]
    assert lines and all(float(line.rpartition("=")[2]) > 0.9999 for line in lines), lines
