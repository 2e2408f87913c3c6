"""Evaluation and merging of chains of several pieces, against the single net that they are."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import caffe
from dualnet.cut.split import Request, split, write
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.training.outcome.evaluate import evaluate
from dualnet.training.outcome.merge import merge
from tests.cut.chain import original_names
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS

pytestmark = pytest.mark.usefixtures("workdir")


def copy_of(path, folder, name, solver):
    """Put a net and its solver where a run has them."""
    os.makedirs(folder, exist_ok=True)
    for kind, source in (("train_test", path), ("solver", solver)):
        with open(source, encoding="utf-8") as file:
            text = file.read()
        with open(f"{folder}/{name}_{kind}.prototxt", "w", encoding="utf-8") as file:
            file.write(text)


def runs_of(name, lower_noise=0.0):
    """Runs of the single net and of a chain, with its weights; returns the chain's config.

    Args:
        name: The chain.
        lower_noise: What is added to the dual layers of the lower pieces.
    """
    text, cuts = CHAINS[name]
    path = write_single("nets", text)
    copy_of(path, "whole", "single", path.replace("train_test", "solver"))
    caffe.set_random_seed(3)
    single = caffe.Net(path, caffe.TEST)
    single.save("whole/single_iter_4.caffemodel")
    request = Request(path, [(at.split(), dual.split()) for at, dual in cuts], "cut")
    result = split(request)
    write(request, result)
    config = cfg.load(result.yaml)
    originals = original_names(config.cuts)
    for number, piece in enumerate(config.names):
        path = f"cut/{piece}_train_test.prototxt"
        copy_of(path, "run", piece, f"cut/{piece}_solver.prototxt")
        net = caffe.Net(path, caffe.TEST)
        dual = config.cuts[number].dual if number < len(cuts) else {}
        for layer, blobs in net.params.items():
            for own, its in zip(blobs, single.params[originals.get(layer, layer)]):
                own.data[...] = its.data + (lower_noise if layer in dual else 0)
        net.save(f"run/{piece}_iter_4.caffemodel")
    return config


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_evaluated_as_the_single_net_is(name):
    config = runs_of(name)
    one, other = evaluate(RunDir("whole"), config), evaluate(RunDir("run"), config)
    assert other["samples"] == one["samples"] == 360
    if "loss" in name:  # those of lower pieces are no part of a chain's test
        assert other.pop("loss") < one["loss"]
    assert other == {output: one[output] for output in other}
    assert any(isinstance(value, float) for value in other.values())


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_merged_to_the_single_net(name):
    config = runs_of(name, lower_noise=1.0)
    paths = merge(RunDir("run"), config, "m.caffemodel")
    merged = caffe.Net(paths[1], caffe.TEST, weights=paths[0])
    single = caffe.Net("whole/single_train_test.prototxt", caffe.TEST,
                       weights="whole/single_iter_4.caffemodel")  # fmt: skip
    assert {
        layer: [blob.data.shape for blob in blobs] for layer, blobs in merged.params.items()
    } == {layer: [blob.data.shape for blob in blobs] for layer, blobs in single.params.items()}
    expected, found = single.forward(), merged.forward()
    for output in single.outputs:
        assert np.array_equal(found[output], expected[output]), output


def test_dual_layers_may_be_those_of_the_lower_pieces():
    config = runs_of("shortcuts over pieces", lower_noise=1.0)
    paths = merge(RunDir("run"), config, "m.caffemodel", dual="lower")
    merged = caffe.Net(paths[1], caffe.TEST, weights=paths[0])
    single = caffe.Net("whole/single_train_test.prototxt", caffe.TEST,
                       weights="whole/single_iter_4.caffemodel")  # fmt: skip
    for layer, blobs in merged.params.items():
        added = 1.0 if any(layer in cut.dual for cut in config.cuts) else 0.0
        assert np.allclose(blobs[0].data, single.params[layer][0].data + added), layer
    with pytest.raises(UsageError, match="--dual net2: valid values are lower, upper"):
        merge(RunDir("run"), config, "m.caffemodel", dual="net2", force=True)
