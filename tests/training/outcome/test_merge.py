"""A merged run against `evaluate`, which joins the pieces in memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import caffe, caffe_pb2, provider
from dualnet.cut.data_files import locate_files
from dualnet.cut.deploy import deploy_net
from dualnet.cut.graph import read_net
from dualnet.cut.merge import merge_models
from dualnet.cut.split import Request, split, write
from dualnet.errors import ConfigError, StorageFailed, UsageError
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve
from dualnet.training.net.resolve import write as write_resolved
from dualnet.training.outcome.evaluate import evaluate
from dualnet.training.outcome.merge import merge
from tests.cut.both import train_pieces
from tests.cut.singles import CHAIN, DATA, SOLVER, classifier, conv, relu, write_single
from tests.cut.split.topologies import (
    FROM_DATA,
    PYTHON,
    READ_TWICE,
    SIAMESE,
    STAGES,
    TWO_HEADS,
    TWO_WAYS,
)
from tests.training.pieces import load, make_nets

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
    """A dual run whose pieces, dual layers included, are what their fillers made of them."""
    for piece, seed in (("net1", 3), ("net2", 4)):
        nets = make_nets(piece, "run", f"seed={seed}")
        caffe_files.save(nets, 4)
    (workdir / "run/config.yaml").write_text(load().to_yaml())
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
    merge(RunDir(run), load(), "m.caffemodel")
    expected = evaluate(RunDir(run), load())
    assert outputs() == {name: expected[name] for name in ("accuracy", "loss")}


def test_dual_layers_of_net1(run):
    merge(RunDir(run), load(), "m.caffemodel", dual="net1")
    merged = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    path, model = (f"run/{name}" for name in ("net1_train_test.prototxt", "net1_iter_4.caffemodel"))
    net1 = caffe.Net(path, caffe.TEST, weights=model)
    for mine, theirs in zip(merged.params["conv3"], net1.params["conv3"]):
        assert np.array_equal(mine.data, theirs.data) and mine.data.shape == theirs.data.shape
    # They are others than net2's here.
    assert outputs()["loss"] != evaluate(RunDir(run), load())["loss"]


def test_deploy_net_predicts_what_the_test_net_counts(run):
    merge(RunDir(run), load(), "m.caffemodel")
    net = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    net.forward()
    deploy = caffe.Net("m_deploy.prototxt", caffe.TEST, weights="m.caffemodel")
    deploy.blobs["data"].reshape(*net.blobs["data"].shape)
    deploy.blobs["data"].data[...] = net.blobs["data"].data
    deploy.forward()
    right = deploy.blobs["prob"].data.argmax(axis=1) == net.blobs["label"].data
    assert right.mean() == pytest.approx(float(net.blobs["accuracy"].data))


def test_caffemodels_shapes_are_those_of_the_snapshots(run):
    merge(RunDir(run), load(), "m.caffemodel")
    with open("m.caffemodel", "rb") as file:
        model = caffe_pb2.NetParameter.FromString(file.read())
    shapes = {layer.name: [list(b.shape.dim) for b in layer.blobs] for layer in model.layer}
    assert shapes["conv3"] == [[32, 32, 3, 3], [32]]
    assert model.name == "digits"


def test_what_is_there_stays_unless_forced(run, workdir):
    (workdir / "m_deploy.prototxt").write_text("precious")
    with pytest.raises(UsageError, match=r"m_deploy.prototxt exists already: give --force"):
        merge(RunDir(run), load(), "m.caffemodel")
    assert not (workdir / "m.caffemodel").exists()
    paths = merge(RunDir(run), load(), "m.caffemodel", force=True)
    assert [os.path.basename(path) for path in paths] == [
        "m.caffemodel", "m_train_test.prototxt", "m_deploy.prototxt"
    ]  # fmt: skip
    assert "prob" in (workdir / "m_deploy.prototxt").read_text()


def test_mistakes(run, workdir):
    with pytest.raises(UsageError, match="no snapshot of iteration 7"):
        merge(RunDir(run), load(), "m.caffemodel", iteration=7)
    with pytest.raises(UsageError, match="--dual net3: valid values are lower, upper, net1, net2"):
        merge(RunDir(run), load(), "m.caffemodel", dual="net3")
    (workdir / "file").write_text("")
    for output in ("file/m.caffemodel", "file/in/m.caffemodel"):
        with pytest.raises(StorageFailed, match=f"{output}: cannot write"):
            merge(RunDir(run), load(), output)
    make_nets("single", "one")
    with pytest.raises(UsageError, match="a run of the single net"):
        merge(RunDir("one"), load(), "m.caffemodel")


def test_command(run, dualnet, workdir):
    done = dualnet("merge", run, "-o", "m.caffemodel")
    assert done.returncode == 0, done.stderr
    assert "wrote m_deploy.prototxt" in done.stderr
    again = dualnet("merge", run, "-o", "m.caffemodel")
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.bvlc
@pytest.mark.skipif(provider == "bvlc", reason="the merged net was made by BVLC Caffe itself")
def test_plain_bvlc_caffe_runs_it(run, bvlc_python, workdir):
    merge(RunDir(run), load(), "m.caffemodel")
    # The judge: evaluate on the very provider that the plain net runs on.
    env = {**os.environ, "DUALNET_CAFFE": "bvlc", "GLOG_minloglevel": "2"}
    done = subprocess.run(
        [bvlc_python, "-c", PLAIN], capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    env["PYTHONPATH"] = str(Path(__file__).parents[3])
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
    request = Request("residual_train_test.prototxt", [(["conv2"], ["conv3"])], "pieces")
    write(request, split(request))
    train_pieces("pieces/dual.yaml", "run", "train.test_interval=0")
    assert caffe_files.find(RunDir("run"))[0] == 3
    config = cfg.load("pieces/dual.yaml")
    assert config.cuts[0].blobs == ["conv2", "conv1"]
    merge(RunDir("run"), config, "m.caffemodel")
    expected = evaluate(RunDir("run"), config, batches=6)
    assert outputs() == {name: expected[name] for name in ("accuracy", "loss")}
    merged = read_net("m_train_test.prototxt")
    merged.name = "residual"
    original = read_net("residual_train_test.prototxt")
    for layer in original.layer:
        locate_files(layer, "residual_train_test.prototxt", absolute=True)
    assert merged == original


# Nets of other kinds, whose pieces are what their fillers made of them.

CROP = """
name: "crop"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 12 dim: 12 } shape { dim: 2 dim: 1 dim: 12 dim: 12 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 4 pad: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2" convolution_param {
  num_output: 5 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "score" type: "Crop" bottom: "conv2" bottom: "data" top: "score"
  crop_param { axis: 2 offset: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
LSTM = """
name: "lstm"
layer { name: "data" type: "DummyData" top: "data" top: "cont" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 6 } shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 }
  data_filler { type: "gaussian" } data_filler { type: "FILLER" max: 1 value: 1 }
  data_filler { type: "constant" value: 2 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" inner_product_param {
  num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param {
  num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "lstm" type: "LSTM" bottom: "ip2" bottom: "cont" top: "lstm" recurrent_param {
  num_output: 4 weight_filler { type: "uniform" min: -0.3 max: 0.3 } bias_filler { } } }
layer { name: "ip3" type: "InnerProduct" bottom: "lstm" top: "ip3" inner_product_param {
  num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip3" bottom: "label" top: "loss"
  softmax_param { axis: 2 } }
"""
FEATURES = "".join(
    f'layer {{ name: "f{x}" type: "InnerProduct" bottom: "{x}" top: "f{x}" param {{ name: "f" }} '
    'param { name: "g" } inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }\n'
    for x in "ab"
)
CONTRASTIVE = (
    SIAMESE.partition("layer { name: 'sum'")[0] + FEATURES
    + 'layer { name: "loss" type: "ContrastiveLoss" bottom: "fa" bottom: "fb" bottom: "label" '
    'top: "loss" }\n'
)  # fmt: skip
NORMALISED = CHAIN.replace(
    relu("relu3", "conv3"),
    'layer { name: "bn" type: "BatchNorm" bottom: "conv3" top: "bn" }\n'
    'layer { name: "drop" type: "Dropout" bottom: "bn" top: "bn" }\n',
).replace('bottom: "conv3" top: "ip"', 'bottom: "bn" top: "ip"')
AUTOENCODER = (
    DATA + 'layer { name: "quiet" type: "Silence" bottom: "label" }\n' + conv("conv1", "data")
    + conv("conv2", "conv1") + conv("conv3", "conv2", num_output=1)
    + 'layer { name: "sig" type: "Sigmoid" bottom: "conv3" top: "out" }\n'
    'layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "conv3" bottom: "data" '
    'top: "loss" }\n'
    'layer { name: "far" type: "EuclideanLoss" bottom: "data" bottom: "out" top: "far" '
    "loss_weight: 0 include { phase: TEST } }\n"
)  # fmt: skip
MASKED = (
    DATA + conv("conv1", "data") + conv("conv2", "conv1") + "layer { name: 'dark' "
    "type: 'Threshold' bottom: 'data' top: 'mask' threshold_param { threshold: 0.5 } }\n"
    "layer { name: 'four' type: 'Concat' bottom: 'mask' bottom: 'mask' bottom: 'mask' "
    "bottom: 'mask' top: 'four' }\n"
    "layer { name: 'times' type: 'Eltwise' bottom: 'conv2' bottom: 'four' top: 'times' "
    "eltwise_param { operation: PROD } }\n" + classifier("times")
)  # fmt: skip
#: Neither data nor loss in phase TEST.
NEVER_TESTED = (
    f"layer {DATA.split('layer')[1]}" + conv("conv1", "data") + conv("conv2", "conv1")
    + "layer { name: 'drop' type: 'Dropout' bottom: 'conv2' top: 'conv2' }\n" + classifier("conv2")
)  # fmt: skip
TIMES = (
    "layer { name: 'times' type: 'Eltwise' bottom: 'conv2' bottom: 'mask' top: 'times' "
    "eltwise_param { operation: PROD } }\n"
)
#: Three tops of a file; the labels of two heads in one.
HDF5 = (
    "layer { name: 'data' type: 'HDF5Data' top: 'data' top: 'mask' top: 'label' "
    "hdf5_data_param { source: 'three.txt' batch_size: 4 } }\n"
    + conv("conv1", "data") + conv("conv2", "conv1") + TIMES
    + "layer { name: 'parts' type: 'Slice' bottom: 'label' top: 'label_a' top: 'label_b' }\n"
    + classifier("times", "ip_a", "loss_a").replace('"label"', '"label_a"')
    + classifier("times", "ip_b", "loss_b").replace('"label"', '"label_b"')
    .replace("SoftmaxWithLoss", "HingeLoss")
)  # fmt: skip
#: A data layer and a layer of one's own.
OWN = (
    "layer { name: 'data' type: 'Python' top: 'data' top: 'mask' top: 'label' "
    "python_param { module: 'tests.training.own_layers' layer: 'Feeder' } }\n"
    + conv("conv1", "data") + conv("conv2", "conv1")
    + "layer { name: 'times' type: 'Python' bottom: 'conv2' bottom: 'mask' top: 'times' "
    "python_param { module: 'tests.training.own_layers' layer: 'Times' } }\n" + classifier("times")
)  # fmt: skip
#: As many public nets have it.
ONE_NAME = re.sub('name: "relu[0-9]"', 'name: "relu"', CHAIN)
OTHERS = {
    "Crop": (CROP, "conv1", "conv2", ["prob"]),
    "LSTM": (LSTM.replace("FILLER", "uniform"), "ip1", "ip2", ["prob"]),
    "LSTM with a constant": (LSTM.replace("FILLER", "constant"), "ip1", "ip2", ["prob"]),
    "siamese": (CONTRASTIVE, "left right", "a b", ["fa", "fb"]),
    "BatchNorm and Dropout": (NORMALISED, "conv1", "conv2", ["prob"]),
    "autoencoder": (AUTOENCODER, "conv1", "conv2", ["out"]),
    "mask": (MASKED, "conv1", "conv2", ["prob"]),
    "never tested": (NEVER_TESTED, "conv1", "conv2", ["prob"]),
    "head below the cut": (TWO_HEADS, "conv2r", "conv3", ["ip_a_prob", "ip_prob"]),
    "heads above the cut": (TWO_HEADS, "conv1", "conv2", ["ip_a_prob", "ip_prob"]),
    "dual output read twice": (READ_TWICE, "conv1", "conv2 conv3", ["prob"]),
    "crossing blob overwritten": (TWO_WAYS, "positive", "right", ["prob"]),
    "two kinds of loss": (FROM_DATA, "both", "conv2", ["ip_b", "prob"]),
    "Python loss": (PYTHON, "conv1", "both", ["ip_b", "prob"]),
    "HDF5": (HDF5, "conv1", "conv2", ["ip_b", "prob"]),
    "own Python layers": (OWN, "conv1", "conv2", ["prob"]),
    "layers of one name": (ONE_NAME, "conv1", "conv2", ["prob"]),
    "layers without a name": (ONE_NAME.replace('"relu"', '""'), "conv1", "conv2", ["prob"]),
    "stages": (STAGES, "conv1", "conv2", ["prob"]),
}


def write_three():
    """Images, masks and two labels each."""
    h5py = pytest.importorskip("h5py")
    with h5py.File("three.h5", "w") as file:
        file["data"] = np.random.rand(12, 1, 8, 8).astype(np.float32)
        file["mask"] = np.random.rand(12, 4, 8, 8).astype(np.float32)
        file["label"] = np.random.randint(0, 10, (12, 2)).astype(np.float32)
    with open("three.txt", "w", encoding="utf-8") as file:
        file.write("three.h5\n")


def pieces_of(text, at, dual):
    """A run of pieces that were never trained, with other dual layers in each; returns it."""
    if text is HDF5:
        write_three()
    is_tested = text != NEVER_TESTED
    solver = SOLVER if is_tested else re.sub("test_i.*\n", "", SOLVER)
    request = Request(write_single("net", text, solver), [(at.split(), dual.split())], "net/cut")
    result = split(request)
    write(request, result)
    yaml = result.yaml
    os.makedirs("run", exist_ok=True)
    for piece, seed in (("net1", 3), ("net2", 4)):
        config = cfg.load(yaml, [f"seed={seed}"])
        resolved = resolve(config, RunDir("run").piece(piece))
        write_resolved(resolved)
        caffe_files.save(Nets(config, resolved), 4)
    return RunDir("run"), cfg.load(yaml)


@pytest.mark.parametrize("name", OTHERS)
def test_nets_of_all_kinds_are_merged_whole(workdir, name):
    text, at, dual, predictions = OTHERS[name]
    merge(*pieces_of(text, at, dual), "m.caffemodel")
    phase = caffe.TRAIN if text is NEVER_TESTED else caffe.TEST
    whole = caffe.Net("m_train_test.prototxt", phase, weights="m.caffemodel")
    deploy = caffe.Net("m_deploy.prototxt", caffe.TEST, weights="m.caffemodel")
    assert sorted(deploy.outputs) == sorted(predictions)
    # The single net that was cut, with the merged weights, and the deploy net on its data.
    single = caffe.Net("net/single_train_test.prototxt", phase, weights="m.caffemodel")
    assert set(whole.params) == set(single.params)
    single.forward()
    inputs = [i.top[0] for i in read_net("m_deploy.prototxt").layer if i.type == "Input"]
    assert "label" not in inputs
    for blob in inputs:
        alone = single.blobs[blob].data[: deploy.blobs[blob].shape[0]]
        deploy.blobs[blob].data[...] = alone
    deploy.forward()
    if text is NEVER_TESTED:  # dropout
        return
    for blob in ("score", "ip", "ip_a", "ip_b", "ip3", "fa", "fb", "out"):
        if blob in deploy.blobs:
            values = deploy.blobs[blob].data
            assert np.allclose(values, single.blobs[blob].data[: len(values)], 1e-4, 1e-6), blob


def test_predictions_are_those_of_their_losses(workdir):
    merge(*pieces_of(*OTHERS["heads above the cut"][:3]), "m.caffemodel")
    deploy = caffe.Net("m_deploy.prototxt", caffe.TEST, weights="m.caffemodel")
    deploy.blobs["data"].data[...] = np.random.rand(*deploy.blobs["data"].shape)
    deploy.forward()
    for scores, prob in (("ip_a", "ip_a_prob"), ("ip", "ip_prob")):
        powers = np.exp(deploy.blobs[scores].data)
        expected = powers / powers.sum(1, keepdims=True)
        assert np.allclose(deploy.blobs[prob].data, expected, 1e-5)


# What is written is tried first.


def nothing_but(workdir, *names):
    left = {path.name for path in workdir.iterdir()} - {"data", "configs", "prototxt", "net"}
    return left == {"run", *names}


@pytest.mark.parametrize(
    ("net", "layer", "blob"),
    [("m_train_test", "ip1", "ip2|accuracy|loss"), ("m_deploy", "", "prob")],
)
def test_other_outputs_than_the_pieces_are_an_error(run, workdir, monkeypatch, net, layer, blob):
    def spoil(merged, *arguments):
        model = merge_models(merged, *arguments)
        for one in model.layer:
            if one.name == layer:
                one.blobs[0].data[:] = [-value for value in one.blobs[0].data]
        return model

    def lose_a_layer(*arguments):
        deploy = deploy_net(*arguments)
        relu = next(one for one in deploy.net.layer if one.type == "ReLU")
        relu.relu_param.negative_slope = 1.0
        return deploy

    monkeypatch.setattr("dualnet.training.outcome.merge.merge_models", spoil)
    if not layer:
        monkeypatch.setattr("dualnet.training.outcome.merge.deploy_net", lose_a_layer)
    with pytest.raises(ConfigError) as caught:
        merge(RunDir(run), load(), "m.caffemodel")
    assert re.search(
        rf"^{net}\.prototxt: blob ({blob})\[.*\] is \S+ here and \S+ in the pieces; nothing was "
        "written", str(caught.value),
    )  # fmt: skip
    assert nothing_but(workdir)


@pytest.mark.skipif(provider == "bvlc", reason="BVLC Caffe ends the process over it")
def test_a_net_that_caffe_refuses_is_an_error(run, workdir, monkeypatch):
    def misspell(*arguments):
        deploy = deploy_net(*arguments)
        deploy.net.layer[-1].type = "Softmix"
        return deploy

    monkeypatch.setattr("dualnet.training.outcome.merge.deploy_net", misspell)
    with pytest.raises(ConfigError, match=r"^m_deploy\.prototxt: Caffe refuses the net: .*Softmix"):
        merge(RunDir(run), load(), "m.caffemodel")
    assert nothing_but(workdir)


def test_a_missing_data_set_is_named(run, workdir):
    (workdir / "data" / "digits").unlink()
    with pytest.raises(
        ConfigError, match="layer data: its source '.*/data/digits/test_lmdb' is not"
    ):
        merge(RunDir(run), load(), "m.caffemodel")
    assert nothing_but(workdir)
