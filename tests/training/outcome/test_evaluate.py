"""Evaluation against the nets run by hand, and pieces against the single net that they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dualnet import cli
from dualnet.backend import caffe
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.outcome.evaluate import evaluate
from tests.training.pieces import load, make_nets, weights_of
from tests.training.starting import train_single


@pytest.fixture
def single(workdir):
    """A run of the single net, as it starts."""
    nets = make_nets("single", "single")
    caffe_files.save(nets, 4)
    return nets


@pytest.fixture
def dual(single):
    """A dual run with the weights of the single net."""
    weights = weights_of(single)
    for piece in ("net1", "net2"):
        nets = make_nets(piece, "dual")
        own = weights_of(nets)
        names = {name: name.replace("conv3p", "conv3") for name in own}
        nets.train.set_parameters({name: weights[source] for name, source in names.items()})
        caffe_files.save(nets, 4)
    return "dual"


def by_hand(batches):
    net = caffe.Net("single/single_train_test.prototxt", caffe.TEST,
                    weights="single/single_iter_4.caffemodel")  # fmt: skip
    results = []
    for _ in range(batches):
        net.forward()
        results.append([float(net.blobs[name].data) for name in ("accuracy", "loss")])
    return np.mean(results, axis=0)


def test_a_loss_that_is_not_finite_comes_out_as_strict_json(workdir, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_handle_stops", lambda handler: None)
    blow_up = ("train.max_iter=1", "update.rule=manual", "update.learning_rate=1e30")
    train_single(load(*blow_up, "train.stop_on_nan=false"), RunDir("run"))
    assert cli.main(["evaluate", "run", "--batches", "1"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["loss"] is None and found["not_finite"]["loss"] in ("Infinity", "NaN")
    assert 0 <= found["accuracy"] <= 1 and found["samples"] == 60


def test_single_run(single):
    result = evaluate(RunDir("single"), load())
    accuracy, loss = by_hand(6)
    assert result == {
        "accuracy": pytest.approx(accuracy), "loss": pytest.approx(loss), "samples": 360,
        "iteration": 4,
    }  # fmt: skip


def test_batches_can_be_chosen(single):
    result = evaluate(RunDir("single"), load(), batches=2)
    accuracy, loss = by_hand(2)
    assert result["samples"] == 120
    assert (result["accuracy"], result["loss"]) == pytest.approx((accuracy, loss))


def test_joined_pieces_are_the_single_net(dual):
    one, two = evaluate(RunDir("single"), load()), evaluate(RunDir("dual"), load())
    assert two == pytest.approx(one, rel=1e-5)


def test_an_earlier_snapshot_can_be_chosen(single):
    before = evaluate(RunDir("single"), load())
    single.train.set_parameters({"ip2.0": np.zeros((10, 32)), "ip2.1": np.eye(10)[3] * 9})
    caffe_files.save(single, 8)
    latest = evaluate(RunDir("single"), load())
    assert latest["iteration"] == 8
    # Always the same class: right for a tenth of the digits.
    assert 0.05 < latest["accuracy"] < 0.15
    assert evaluate(RunDir("single"), load(), iteration=4) == before


def test_progress_counts_batches(single):
    told = []
    evaluate(
        RunDir("single"), load(), batches=3, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_loss_is_weighted_and_further_outputs_are_named(workdir, single):
    path = workdir / "single/single_train_test.prototxt"
    more = 'layer { name: "more" type: "Softmax" bottom: "ip2" top: "more" loss_weight: 0.5 }'
    path.write_text(path.read_text() + more)
    plain = by_hand(6)[1]
    result = evaluate(RunDir("single"), load())
    # Softmax sums to one over ten classes.
    assert result["more"] == pytest.approx(0.1)
    assert result["loss"] == pytest.approx(plain + 0.5 * 0.1, rel=1e-5)


def test_mistakes(single, workdir):
    with pytest.raises(UsageError, match=r"--batches 0: at least one"):
        evaluate(RunDir("single"), load(), batches=0)
    with pytest.raises(UsageError, match="no snapshot of iteration 5"):
        evaluate(RunDir("single"), load(), iteration=5)
    with pytest.raises(UsageError, match="no run here"):
        evaluate(RunDir("nowhere"), load())
    solver = workdir / "single/single_solver.prototxt"
    solver.write_text(solver.read_text().replace("test_iter: 6", ""))
    with pytest.raises(UsageError, match="no test_iter; say how many --batches"):
        evaluate(RunDir("single"), load())


STAGED = """
name: "staged"
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "data/digits/train_lmdb" batch_size: 8 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
  include { phase: TRAIN stage: "small" } }
layer { name: "wide" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "constant" } }
  include { phase: TRAIN not_stage: "small" } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
  include { phase: TEST stage: "judge" } }
layer { name: "top1" type: "Accuracy" bottom: "ip" bottom: "label" top: "top-1"
  include { phase: TEST stage: "judge" } }
layer { name: "top5" type: "Accuracy" bottom: "ip" bottom: "label" top: "top-5"
  accuracy_param { top_k: 5 } include { phase: TEST stage: "judge" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def test_states_of_the_solver_choose_layers_and_accuracy_may_have_any_name(workdir):
    (workdir / "net.prototxt").write_text(STAGED)
    (workdir / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 3 test_iter: 2 '
        'test_interval: 3 train_state { stage: "small" } test_state { stage: "judge" }'
    )
    config = load("single.solver=solver.prototxt", "train.test_interval=3", "train.test_iter=2")
    session = train_single(config, RunDir("run"))
    assert list(session.nets.train.net.params) == ["ip"]
    result = evaluate(RunDir("run"), config)
    assert result["accuracy"] == result["top-1"] <= result["top-5"]
