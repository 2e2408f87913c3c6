"""A merged run against `evaluate`, which joins the halves in memory."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import caffe, caffe_pb2, provider
from dualnet.config import CONFIG_NAME
from dualnet.cut.graph import read_net
from dualnet.cut.split import Request, split, write
from dualnet.errors import StorageFailed, UsageError
from dualnet.train import checkpoint
from dualnet.train.evaluate import evaluate
from dualnet.train.merge import merge
from tests.cut.both import train_halves
from tests.train.halves import load, make_half

#: Runs in BVLC Caffe's interpreter, which knows nothing of dualnet there.
PLAIN = """
import caffe, json, sys
net = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
means = []
for _ in range(6):
    net.forward()
    means.append([float(net.blobs[name].data) for name in ("accuracy", "loss")])
deploy = caffe.Net("m_deploy.prototxt", caffe.TEST, weights="m.caffemodel")
deploy.blobs["data"].reshape(*net.blobs["data"].shape)
deploy.blobs["data"].data[...] = net.blobs["data"].data
deploy.forward()
right = (deploy.blobs["prob"].data.argmax(1) == net.blobs["label"].data).mean()
accuracy, loss = (sum(values) / 6 for values in zip(*means))
print(json.dumps({"accuracy": accuracy, "loss": loss, "last": [float(right), means[-1][0]]}))
"""


@pytest.fixture
def run(workdir):
    """A dual run whose halves, dual layers included, are what their fillers made of them."""
    for role, seed in (("net1", 3), ("net2", 4)):
        half = make_half(role, "run", f"seed={seed}")
        checkpoint.save(half, 4, "run")
    (workdir / "run" / CONFIG_NAME).write_text(load().to_yaml())
    return "run"


def outputs(batches=6):
    net = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    sums = {"accuracy": 0.0, "loss": 0.0}
    for _ in range(batches):
        net.forward()
        for name in sums:
            sums[name] += float(net.blobs[name].data.mean())
    return {name: total / batches for name, total in sums.items()}


def test_accuracy_equals_evaluates_to_the_last_digit(run):
    merge(run, load(), "m.caffemodel")
    expected = evaluate(run, load())
    assert outputs() == {name: expected[name] for name in ("accuracy", "loss")}


def test_dual_layers_of_net1(run):
    merge(run, load(), "m.caffemodel", dual="net1")
    merged = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    path, model = (f"run/{name}" for name in ("net1_train_test.prototxt", "net1_iter_4.caffemodel"))
    net1 = caffe.Net(path, caffe.TEST, weights=model)
    for mine, theirs in zip(merged.params["conv3"], net1.params["conv3"]):
        assert np.array_equal(mine.data, theirs.data) and mine.data.shape == theirs.data.shape
    # They are others than net2's here.
    assert outputs()["loss"] != evaluate(run, load())["loss"]


def test_deploy_net_predicts_what_the_test_net_counts(run):
    merge(run, load(), "m.caffemodel")
    net = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    net.forward()
    deploy = caffe.Net("m_deploy.prototxt", caffe.TEST, weights="m.caffemodel")
    deploy.blobs["data"].reshape(*net.blobs["data"].shape)
    deploy.blobs["data"].data[...] = net.blobs["data"].data
    deploy.forward()
    right = deploy.blobs["prob"].data.argmax(axis=1) == net.blobs["label"].data
    assert right.mean() == pytest.approx(float(net.blobs["accuracy"].data))


def test_caffemodels_shapes_are_those_of_the_snapshots(run):
    merge(run, load(), "m.caffemodel")
    with open("m.caffemodel", "rb") as file:
        model = caffe_pb2.NetParameter.FromString(file.read())
    shapes = {layer.name: [list(b.shape.dim) for b in layer.blobs] for layer in model.layer}
    assert shapes["conv3"] == [[32, 32, 3, 3], [32]]
    assert model.name == "digits"


def test_what_is_there_stays_unless_forced(run, workdir):
    (workdir / "m_deploy.prototxt").write_text("precious")
    with pytest.raises(UsageError, match=r"m_deploy.prototxt exists already: give --force"):
        merge(run, load(), "m.caffemodel")
    assert not (workdir / "m.caffemodel").exists()
    paths = merge(run, load(), "m.caffemodel", force=True)
    assert [os.path.basename(path) for path in paths] == [
        "m.caffemodel", "m_train_test.prototxt", "m_deploy.prototxt"
    ]  # fmt: skip
    assert "prob" in (workdir / "m_deploy.prototxt").read_text()


def test_mistakes(run, workdir):
    with pytest.raises(UsageError, match="no snapshot of iteration 7"):
        merge(run, load(), "m.caffemodel", iteration=7)
    with pytest.raises(UsageError, match="--dual net3: valid values are net1, net2"):
        merge(run, load(), "m.caffemodel", dual="net3")
    with pytest.raises(StorageFailed, match="nowhere/m.caffemodel: cannot write"):
        merge(run, load(), "nowhere/m.caffemodel")
    make_half("single", "one")
    with pytest.raises(UsageError, match="a run of the single net"):
        merge("one", load(), "m.caffemodel")


def test_command(run, dualnet, workdir):
    done = dualnet("merge", run, "-o", "m.caffemodel")
    assert done.returncode == 0, done.stderr
    assert "wrote m_deploy.prototxt" in done.stderr
    again = dualnet("merge", run, "-o", "m.caffemodel")
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.bvlc
@pytest.mark.skipif(provider == "bvlc", reason="the merged net was made by BVLC Caffe itself")
def test_plain_bvlc_caffe_runs_it(run, bvlc_python, workdir):
    merge(run, load(), "m.caffemodel")
    # The judge: evaluate on the very provider that the plain net runs on.
    env = {**os.environ, "DUALNET_CAFFE": "bvlc", "GLOG_minloglevel": "2"}
    done = subprocess.run(
        [bvlc_python, "-c", PLAIN], capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    env["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    judge = subprocess.run(
        [bvlc_python, "-m", "dualnet", "evaluate", run],
        capture_output=True, text=True, timeout=120, env=env,
    )  # fmt: skip
    assert judge.returncode == 0, judge.stderr
    expected = json.loads(judge.stdout)
    assert (plain["accuracy"], plain["loss"]) == (expected["accuracy"], expected["loss"])
    assert plain["last"][0] == pytest.approx(plain["last"][1])


RESIDUAL = """
name: "residual"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.0625 }
  data_param { source: "data/digits/train_lmdb" batch_size: 16 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "conv3" type: "Convolution" bottom: "conv2" top: "conv3" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "conv1" bottom: "conv3" top: "sum" }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip" inner_product_param {
  num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def test_a_cut_that_two_blobs_cross(workdir):
    (workdir / "residual_train_test.prototxt").write_text(RESIDUAL)
    (workdir / "residual_solver.prototxt").write_text(
        'net: "residual_train_test.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 3\n'
        "test_iter: 6 test_interval: 100\n"
    )
    request = Request("residual_train_test.prototxt", ["conv2"], ["conv3"], "halves")
    write(request, split(request))
    train_halves("halves/dual.yaml", "run", "train.test_interval=0")
    assert checkpoint.find("run")[0] == 3
    config = cfg.load("halves/dual.yaml")
    assert config.cut.blobs == ["conv2", "conv1"]
    merge("run", config, "m.caffemodel")
    expected = evaluate("run", config, batches=6)
    assert outputs() == {name: expected[name] for name in ("accuracy", "loss")}
    merged = read_net("m_train_test.prototxt")
    merged.name = "residual"
    assert merged == read_net("residual_train_test.prototxt")
