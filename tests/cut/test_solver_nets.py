"""The net that a solver means, in each of Caffe's ways to say it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dualnet import config as cfg
from dualnet.backend import caffe_pb2
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.cut.graph import NetGraph, read_net, read_solver
from dualnet.cut.plan.cut_plan import Request as PlanRequest
from dualnet.cut.plan.cut_plan import plan
from dualnet.cut.prototxt import format_fields
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split import Request, split, write
from dualnet.errors import ConfigError
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from tests.cut.both import train_pieces, train_single, train_whole_and_cut
from tests.cut.singles import CHAIN, DATA, SOLVER

pytestmark = pytest.mark.usefixtures("workdir")

TRAIN_DATA, TEST_DATA = (
    "layer" + part.replace("include { phase: TRAIN }", "").replace("include { phase: TEST }", "")
    for part in DATA.split("layer")[1:]
)
BODY = CHAIN.replace(DATA, "").replace('name: "chain"', "")
#: As FCN's: a file for training and one for tests, without rules; rates and fillers in one only.
TRAIN = f'name: "chain"\n{TRAIN_DATA}# The first.\n{BODY}'
TEST = f'name: "chain"\n{TEST_DATA}{BODY}'.replace('weight_filler { type: "msra" }', "")
ACCURACY = (
    "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' }\n"
)
REST = SOLVER.replace('net: "single_train_test.prototxt"\n', "")


def files(**texts):
    """Leave prototxt files here."""
    for name, text in texts.items():
        with open(f"{name}.prototxt", "w", encoding="utf-8") as file:
            file.write(text)


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def solver_of(text):
    files(solver=text)
    return read_solver("solver.prototxt")


def cut(net="train.prototxt", **more):
    """Split with the solver beside; returns (YAML, config, remarks)."""
    request = Request(net, [(["conv1"], ["conv2"])], "cut", "solver.prototxt", **more)
    result = split(request)
    write(request, result, force=True)
    return result.yaml, cfg.load(result.yaml), result.remarks


def held(field, text):
    net = "\n".join("  " + line for line in text.splitlines())
    return f"{field} {{\n{net}\n}}\n"


TWO_FILES = 'train_net: "train.prototxt" test_net: "test.prototxt"\n' + REST
WAYS = {
    "net": 'net: "both.prototxt"\n' + REST,
    "train_net and test_net": 'train_net: "both.prototxt" test_net: "both.prototxt"\n' + REST,
    "two files": TWO_FILES,
    "net_param": held("net_param", CHAIN) + REST,
    "train_net_param and test_net_param": held("train_net_param", TRAIN)
    + held("test_net_param", TEST) + REST,
    "a file and a held test net": 'net: "both.prototxt"\n' + held("test_net_param", TEST) + REST,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_means_the_same_net(way):
    files(both=CHAIN, train=TRAIN, test=TEST)
    found = net_of(solver_of(WAYS[way]), "solver.prototxt")
    expected = read_net("both.prototxt")
    for phase in ("TRAIN", "TEST"):
        layers = [NetGraph(net, phase, "").layers for net in (found.net, expected)]
        for layer in (*layers[0], *layers[1]):
            layer.ClearField("include")
        assert layers[0] == layers[1]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_trains_and_tests_the_same(way):
    """The single net and both pieces, whatever the solver calls their nets."""
    net = {"two files": "train.prototxt"}.get(way, "both.prototxt")
    files(both=TRAIN if way.startswith("train_net_param") else CHAIN, train=TRAIN, test=TEST)
    solver_of(WAYS[way])
    yaml, config, _ = cut(net)
    settings = ("train.batch_size=8", "train.max_iter=2", "train.test_interval=2",
                "train.test_iter=2", "train.display=1", "train.snapshot=0")  # fmt: skip
    assert config.single.solver == "solver.prototxt"
    initial = train_single(yaml, "single", 2, 2, *settings[2:4]).initial
    train_pieces(yaml, "run", f"train.weights=[{initial}]", *settings)
    train_single(yaml, "again", 2, 2, f"train.weights=[{initial}]", *settings)
    one, two = parse_log("again/single.log"), parse_log("run/net2.log")
    for rows in zip(one.train, two.train):
        assert rows[0].loss == pytest.approx(rows[1].loss, rel=1e-5)
    (tests_1,), (tests_2,) = one.tests.values(), two.tests.values()
    assert [row.iteration for row in tests_1] == [0, 2]
    for rows in zip(tests_1, tests_2):
        assert rows[0].outputs["loss"] == pytest.approx(rows[1].outputs["loss"], rel=1e-5)
    expected = _test_loss()
    assert tests_1[0].outputs["loss"] == pytest.approx(expected, rel=1e-5)


def _test_loss():
    """Of the initial weights on the first 2 test batches of 60: what a test must have read."""
    from dualnet.backend import caffe

    files(reference=CHAIN)
    net = caffe.Net("reference.prototxt", caffe.TEST, weights="single/initial.caffemodel")
    return float(np.mean([float(net.forward()["loss"]) for _ in range(2)]))


def test_layers_of_tests_alone_are_added():
    norm = "layer { name: 'norm' type: 'BatchNorm' bottom: 'conv2' top: 'conv2' %s }\n"
    place = 'layer { name: "relu2"'
    files(
        train=TRAIN.replace(place, norm % "" + place),
        test=TEST.replace(place, norm % "batch_norm_param { use_global_stats: true }" + place)
        + ACCURACY,
    )
    solver_of(TWO_FILES)
    _, _, remarks = cut()
    assert any("tests are those of test.prototxt" in remark for remark in remarks)
    net = read_net("cut/net2_train_test.prototxt")
    train, test = (NetGraph(net, phase, "").layers for phase in ("TRAIN", "TEST"))
    assert [layer.type for layer in train].count("BatchNorm") == 1
    (norm_of_test,) = [layer for layer in test if layer.type == "BatchNorm"]
    assert norm_of_test.batch_norm_param.use_global_stats
    assert "Accuracy" in [layer.type for layer in test]
    assert "Accuracy" not in [layer.type for layer in train]
    assert "# The first." in text_of("cut/net1_train_test.prototxt")


def test_without_test_iter_there_is_no_test_net():
    files(train=TRAIN)
    solver = solver_of('train_net: "train.prototxt"\n' + REST.replace("test_iter: 6", ""))
    assert net_of(solver, "solver.prototxt").net == read_net("train.prototxt")
    yaml, config, _ = cut()
    assert train_whole_and_cut(yaml, "run", 2, "train.batch_size=8").weight < 1e-5


def test_of_several_test_nets_the_first_is_kept():
    files(train=TRAIN, test=TEST, other=TEST + ACCURACY)
    text = TWO_FILES + 'test_net: "other.prototxt" test_iter: 3\n'
    solver_of(text + "test_state { stage: 'a' } test_state { stage: 'b' }")
    yaml, config, remarks = cut()
    assert any("2 test nets; the first is kept" in remark for remark in remarks)
    assert any("other.prototxt" in remark for remark in remarks)
    assert config.single.solver == os.path.join("cut", "single_solver.prototxt")
    for name in ("single", "net1", "net2"):
        solver = read_solver(f"cut/{name}_solver.prototxt")
        assert list(solver.test_iter) == [6] and len(solver.test_state) == 1
    train_pieces(yaml, "run", "train.max_iter=1", "train.test_iter=1", "train.test_interval=1")
    train_single(yaml, "single", 1, 1)


def test_the_solver_of_another_net_gets_a_copy_for_this_one():
    files(train=TRAIN, another=CHAIN.replace("conv3", "conv9"))
    solver_of('net: "another.prototxt"  # which?\n' + REST.replace("test_iter: 6", ""))
    yaml, config, remarks = cut()
    assert any("names another net, another.prototxt" in remark for remark in remarks)
    assert config.single.solver == os.path.join("cut", "single_solver.prototxt")
    written = text_of(config.single.solver)
    assert 'net: "../train.prototxt"  # which?' in written
    assert train_whole_and_cut(yaml, "run", 2, "train.batch_size=8").weight < 1e-5


def test_plan_and_drawing_take_both_files():
    files(train=TRAIN, test=TEST)
    solver_of(TWO_FILES)
    found = plan(PlanRequest("train.prototxt", "solver.prototxt", repeats=1))
    assert [chain.cuts[0].at for chain in found.cuts][:2] == ["conv1", "conv2"]
    _, config, _ = cut()
    assert '"single conv3"' in draw(load_graphs(config), config)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (REST, ['no net: "…" in it, nor net_param, train_net, train_net_param']),
        ('net: "train.prototxt" train_net: "train.prototxt"\n' + REST,
         ["train_net beside net, and both say what to train; keep one"]),
        (held("net_param", "name: 'empty'") + REST, ["solver.prototxt: net_param: no layer"]),
        ('train_net: "absent.prototxt"\n' + REST, ["net absent.prototxt: no such file"]),
        (TWO_FILES + 'test_net: "test.prototxt"', ["2 test_net: one test net is supported"]),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said(text, parts):
    files(train=TRAIN, test=TEST)
    solver_of(text)
    config = cfg.from_dict({"single": {"solver": "solver.prototxt"}}, "test")
    with pytest.raises(ConfigError) as caught:
        resolve(config, RunDir("run").piece("single"))
    for part in parts:
        assert part in str(caught.value)


def test_a_resolved_solver_names_one_net():
    files(train=TRAIN, test=TEST)
    solver_of(TWO_FILES)
    config = cfg.from_dict({"single": {"solver": "solver.prototxt"}}, "test")
    resolved = resolve(config, RunDir("run").piece("single"))
    text = format_fields(resolved.solver)
    assert "train_net" not in text and "test_net" not in text
    assert resolved.solver.net == resolved.dir.net
    assert isinstance(resolved.net, caffe_pb2.NetParameter)
    assert [layer.name for layer in resolved.test.layers][0] == "data"
    assert resolved.test.layers[0].data_param.source.endswith("test_lmdb")
    assert resolved.train.layers[0].data_param.source.endswith("train_lmdb")
