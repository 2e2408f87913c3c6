"""Both trainers train, with the same settings; each times every layer."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dualnet.engine.bench.nets import Case, write_solver
from dualnet.engine.bench.plain_trainer import PlainTrainer
from dualnet.engine.bench.pycaffe_trainer import PycaffeTrainer

SMALL = Case("cifar10", 8, (3, 32, 32), 10)


@pytest.fixture
def trainers(tmp_path, monkeypatch, repository):
    """One of each kind, on the same weights and the same batch."""
    monkeypatch.chdir(repository)
    # Restores sys.modules afterwards: the engine registers itself as `caffe`.
    for name in [n for n in sys.modules if n.split(".")[0] == "caffe"]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    engine = PycaffeTrainer("engine", write_solver(SMALL, str(tmp_path)), SMALL.classes)
    plain = PlainTrainer(SMALL.name, (SMALL.batch, *SMALL.image), SMALL.classes)
    net = engine._net
    with torch.no_grad():
        for layer, blobs in net.params.items():
            for blob, values in zip(blobs, plain._net.get_submodule(layer).parameters()):
                values.copy_(torch.from_numpy(blob.data))
    net.blobs["data"].data[...] = plain._images.numpy()
    net.blobs["label"].data[...] = plain._labels.numpy()
    return engine, plain


def test_both_take_the_same_steps(trainers):
    engine, plain = trainers
    losses = []
    for _ in range(12):
        for trainer in (engine, plain):
            trainer.step()
        losses.append((engine.loss(), plain.loss()))
    assert losses[-1][0] < losses[0][0]
    np.testing.assert_allclose(*zip(*losses), rtol=1e-5)
    for layer, blobs in engine._net.params.items():
        for blob, values in zip(blobs, plain._net.get_submodule(layer).parameters()):
            np.testing.assert_allclose(blob.data, values.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_both_time_every_layer(trainers):
    times = [trainer.layer_times(2) for trainer in trainers]
    layers = [*trainers[0]._net.params, "relu1", "pool1", "loss"]
    wanted = {f"{layer} {way}" for layer in layers for way in ("forward", "backward")}
    for one in times:
        assert set(one) >= {*wanted, "update"}
        assert all(len(seconds) == 2 and min(seconds) >= 0 for seconds in one.values())


def test_timing_layers_takes_the_same_steps(trainers):
    engine, plain = trainers
    engine.layer_times(2)
    plain.layer_times(2)
    engine.step()
    plain.step()
    np.testing.assert_allclose(engine.loss(), plain.loss(), rtol=1e-5)
