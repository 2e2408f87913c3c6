"""Measured times: whose they are, not how long they are."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_net, read_solver
from dualnet.cut.plan.times import measure_layers
from dualnet.cut.shapes import build

NET = "prototxt/digits/single_train_test.prototxt"
LAYERS = [
    "data", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "conv4",
    "relu4", "pool4", "ip1", "relu5", "ip2", "loss",
]  # fmt: skip


def measure(given=(), repeats=2, text=None, workdir=None):
    path = NET
    if text is not None:
        path = str(workdir / "net.prototxt")
        (workdir / "net.prototxt").write_text(text)
    dataflow = DataflowGraph(read_net(path), path, ("TRAIN",))
    by_name = lambda seconds: {dataflow.layers[n].name: s for n, s in seconds.items()}  # noqa: E731
    shapes = dict(given)
    built = build(dataflow, "TRAIN", shapes)
    solver = read_solver("prototxt/digits/single_solver.prototxt")
    told = []
    times = measure_layers(
        dataflow, built, solver, "cpu", shapes, repeats, lambda *done: told.append(done)
    )
    return times._replace(forward=by_name(times.forward), backward=by_name(times.backward)), told


def test_every_layer_is_timed(workdir):
    times, told = measure()
    assert list(times.forward) == list(times.backward) == LAYERS
    assert all(seconds > 0 for seconds in times.forward.values())
    assert all(times.backward[name] > 0 for name in ("conv1", "ip2", "loss"))
    assert times.update > 0 and times.touch_per_byte > 0 and times.grown_bytes >= 0
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_split_layers_are_counted_with_the_one_before(workdir):
    side = (
        'layer { name: "side" type: "InnerProduct" bottom: "pool1" top: "side" '
        "inner_product_param { num_output: 10 } }"
        'layer { name: "side_loss" type: "SoftmaxWithLoss" bottom: "side" bottom: "label" '
        'top: "side_loss" }'
    )
    times, _ = measure(text=(workdir / NET).read_text() + side, workdir=workdir)
    assert list(times.forward) == [*LAYERS, "side", "side_loss"]


def test_data_that_is_not_here_is_replaced_by_noise(workdir, monkeypatch):
    (workdir / "data" / "digits").unlink()
    nets = []
    get_solver = caffe.get_solver

    def remember(path):
        solver = get_solver(path)
        nets.append(solver.net)
        return solver

    monkeypatch.setattr(caffe, "get_solver", remember)
    times, _ = measure({"data": (1, 8, 8)})
    assert list(times.forward) == LAYERS
    data = np.asarray(nets[0].blobs["data"].data)
    assert data.shape == (64, 1, 8, 8) and data.std() == pytest.approx(1, abs=0.1)
