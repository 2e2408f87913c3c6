"""A hundred iterations of a whole chain beside the single net's: the same losses and weights.

The nets are those that are shipped. Losses and weights may differ by 1e-4; with target backprop,
alternating, on the engine, by no bit. Nets in which a shortcut or a loss lies over a whole piece:
test_split_chains.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import provider
from dualnet.cut.split import Request, split, write
from dualnet.data.databases.lmdb import write_lmdb
from dualnet.data.mean import write_mean
from dualnet.data.sets.digits import read_digits
from dualnet.training.net.initial import save_initial_weights
from tests.cut.singles import DATA, classifier, conv, relu, write_single
from tests.training.chain import train_chain
from tests.training.loop.test_piece import distance

ITERATIONS = 100
SHIPPED = {
    "digits": [("pool1", "conv2"), ("pool2", "conv3"), ("pool4", "ip1")],
    "cifar10": [("pool1", "conv2"), ("pool2", "conv3"), ("relu3", "conv4")],
}


def write_large_digits():
    """The digits as large as the CIFAR-10 nets' images, where these look for theirs."""
    for name, images in zip(("train", "test"), read_digits()):
        pixels = (
            np.asarray(images.images[:256]).repeat(4, axis=2).repeat(4, axis=3).repeat(3, axis=1)
        )
        write_lmdb(
            f"data/cifar10/{name}_lmdb", np.ascontiguousarray(pixels * 15), images.labels[:256]
        )
    write_mean("data/cifar10/mean.binaryproto", np.full((3, 32, 32), 60, np.float32))


def pair_of(net, cuts, solver, folder):
    """Makes the configs of the single net and of its chain, which begin with the same weights."""
    request = Request(net, [(at.split(), dual.split()) for at, dual in cuts], folder, solver=solver)
    result = split(request)
    write(request, result)

    def make(*overrides):
        settings = [f"train.max_iter={ITERATIONS}", "train.test_interval=0", "train.display=0",
                    "train.snapshot=0", "train.batch_size=16", f"single.solver={solver}",
                    *overrides]  # fmt: skip
        (weights,) = save_initial_weights(cfg.load(result.yaml, settings), ["single"], folder)
        chain = cfg.load(result.yaml, [*settings, f"train.weights=[{weights}]"])
        return dataclasses.replace(chain, pieces=(chain.single,), cuts=()), chain

    return make


#: So slow that what a target's rounding changes does not grow within the hundred iterations.
SLOW = "update.learning_rate=0.0001"


def check(single, chain, name, exact):
    """Compare two trainings from the first loss to the last weight."""
    one, two = train_chain(single, f"{name}-single"), train_chain(chain, f"{name}-chain")
    last = chain.names[-1]
    if exact:
        assert two.losses[last] == one.losses["single"]
    np.testing.assert_allclose(two.losses[last], one.losses["single"], rtol=1e-4, atol=1e-4)
    found = distance(one.weights(), two.weights())
    assert found <= (0 if exact else 1e-4)


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("pieces", [2, 3, 4])
@pytest.mark.parametrize("net", SHIPPED)
def test_a_shipped_net_in_pieces(workdir, net, pieces, target):
    if net == "cifar10":
        write_large_digits()
    make = pair_of(
        f"prototxt/{net}/single_train_test.prototxt", SHIPPED[net][: pieces - 1],
        f"prototxt/{net}/single_solver.prototxt", "cut",
    )  # fmt: skip
    exact = target == "backprop" and provider == "engine"
    check(*make(f"coupling.target={target}", *([] if exact else [SLOW])), net, exact)


@pytest.mark.parametrize("net", SHIPPED)
def test_a_shipped_net_in_a_pipeline(workdir, net):
    if net == "cifar10":
        write_large_digits()
    make = pair_of(
        f"prototxt/{net}/single_train_test.prototxt", SHIPPED[net],
        f"prototxt/{net}/single_solver.prototxt", "cut",
    )  # fmt: skip
    single, chain = make("train.schedule=pipelined", "train.micro_batches=4", SLOW)
    assert chain.names[-1] == "net4"
    check(single, chain, net, exact=False)


@pytest.mark.parametrize("schedule", ["alternating", "pipelined"])
def test_eight_pieces(workdir, schedule):
    layers = [conv("c1", "data")] + [conv(f"c{n}", f"r{n - 1}") for n in range(2, 10)]
    text = DATA + "".join(
        layer + relu(f"r{n}", f"c{n}", f"r{n}") for n, layer in enumerate(layers, 1)
    )
    net = write_single("net", text + classifier("r9"))
    cuts = [(f"r{n}", f"c{n + 1}") for n in range(1, 8)]
    make = pair_of(net, cuts, net.replace("train_test", "solver"), "cut")
    single, chain = make(
        "coupling.target=backprop", "train.max_iter=20", f"train.schedule={schedule}",
        "train.micro_batches=8",
    )  # fmt: skip
    assert chain.names[-1] == "net8"
    check(single, chain, "eight", exact=schedule == "alternating" and provider == "engine")
