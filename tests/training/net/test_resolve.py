"""The prototxt that a run uses: what the config changes in it, and what mistakes are refused."""

from __future__ import annotations

import os

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe
from dualnet.cut.graph import batch_size_of, read_net, read_solver
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve, write
from dualnet.training.net.solver_settings import NEVER
from tests.training.pieces import load

NET1, NET2, SINGLE = (f"prototxt/digits/{piece}_train_test.prototxt" for piece in
                      ("net1", "net2", "single"))  # fmt: skip


@pytest.fixture
def edit(workdir):
    """Gives the `--set` that lets a piece use its digits prototxt with some text replaced."""

    def make(piece, net=(), solver=()):
        path = f"prototxt/digits/{piece}_train_test.prototxt"
        (workdir / "net.prototxt").write_text(replaced(workdir / path, net))
        solver_path = f"prototxt/digits/{piece}_solver.prototxt"
        text = replaced(workdir / solver_path, solver).replace(path, "net.prototxt")
        (workdir / "solver.prototxt").write_text(text)
        return f"{piece}.solver=solver.prototxt"

    return make


def replaced(path, replacements):
    text = path.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    return text


def refused(piece, overrides, *parts):
    with pytest.raises(ConfigError) as caught:
        resolve(load(*overrides), RunDir("run").piece(piece))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert not os.path.exists("run"), "nothing is written for a run that cannot be"


# Mistakes.

CONV3P_DATA = 'layer {\n  name: "conv3p_data"'
AS_MEMORY = ('type: "Input"', 'type: "MemoryData"')
SILENCE = 'layer {\n  name: "silence"'
RELU3 = 'layer { name: "relu3" type: "ReLU" bottom: "conv3" top: "conv3" }\n'
CONV1 = 'layer {\n  name: "conv1"'
LOSS1 = 'bottom: "conv3"\n  bottom: "conv3p"\n  top: "loss"'
SECOND_LOSS = 'layer { name: "two" type: "EuclideanLoss" bottom: "conv3" bottom: "conv3p" }\n'
CONV3P = 'layer {\n  name: "conv3p"'
POOL2 = 'layer {\n  name: "pool2_data"'
TO_CONV3P = 'bottom: "pool2"\n  top: "conv3p"'
DUMMY = 'layer { name: "first" type: "DummyData" top: "z" dummy_data_param { shape { dim: 1 } } }\n'
LABELS = 'layer { name: "own" type: "DummyData" top: "label" dummy_data_param {} }\n'


@pytest.mark.parametrize(
    ("piece", "net", "overrides", "expected"),
    [
        # net1
        ("net1", [], ["cut.blobs=[pool9]"], ["net.prototxt: no blob pool9", "cut.blobs", "pool1"]),
        ("net1", [], ["cut.labels=[target]"], ["no blob target", "cut.labels", "label"]),
        ("net1", [], ["cut.dual={conv9: conv3p}"], ["no layer conv9", "cut.dual", "conv3"]),
        ("net1", [], ["cut.blobs=[pool1]"],
         ["layer conv3 does not read pool1 but pool2", "must stand on the cut blob"]),
        ("net1", [], ["cut.dual={conv3: conv9p}"], ["no blob conv9p", "cut.dual", "conv3p"]),
        ("net1", [], ["cut.dual={conv2: conv2p}"], ["conv2 does not read pool2 but pool1"]),
        ("net1", [], ["cut.dual={conv3: conv3p, conv1: conv1p}"],
         ["cut.dual lists conv3, conv1", "in the order conv1, conv3", "forward order"]),
        ("net1", [(SILENCE, RELU3 + SILENCE)], [],
         ["layer relu3 overwrites conv3 in place", "give relu3 a top of its own"]),
        ("net1", [(CONV3P_DATA, DUMMY + CONV3P_DATA), AS_MEMORY], [],
         ["MemoryData layer conv3p_data is layer 1", "layer 0 only", "move it"]),
        ("net1", [('type: "Input"', 'type: "DummyData"')], [],
         ["conv3p comes from layer conv3p_data of type DummyData", "MemoryData or Input"]),
        ("net1", [(LOSS1, 'bottom: "conv3"\n  bottom: "pool2"\n  top: "loss"')], [],
         ["0 layers read both conv3 and conv3p", "exactly one loss"]),
        ("net1", [(SILENCE, SECOND_LOSS + SILENCE)], [],
         ["2 layers read both", "exactly one loss"]),
        ("net1", [(CONV1, SECOND_LOSS + CONV1),
                  (LOSS1, 'bottom: "conv3"\n  top: "loss"')], [],
         ["loss two stands before layer conv3", "move the loss after it"]),
        # net2
        ("net2", [], ["cut.blobs=[pool9]"], ["no blob pool9", "cut.blobs", "pool2"]),
        ("net2", [], ["cut.labels=[target]"], ["no blob target", "cut.labels"]),
        ("net2", [('type: "Input"', 'type: "DummyData"')], [],
         ["pool2 comes from layer pool2_data of type DummyData in phase TRAIN",
          "MemoryData or Input"]),
        ("net2", [(POOL2, DUMMY + POOL2), AS_MEMORY], [],
         ["MemoryData layer pool2_data is layer 1 in phase TRAIN", "move it to the top"]),
        ("net2", [('  top: "label"', '  top: "unused"'),
                  ('name: "digits_net2"', 'name: "digits_net2"\n' + LABELS), AS_MEMORY], [],
         ["MemoryData layer pool2_data is layer 1"]),
        ("net2", [('  top: "label"', '  top: "unused"'),
                  (CONV3P, LABELS + CONV3P)], [],
         ["label comes from layer own of type DummyData in phase TRAIN"]),
        ("net2", [], ["cut.dual={conv3: conv9p}"], ["no layer conv9p in phase TRAIN", "conv3p"]),
        ("net2", [(TO_CONV3P, 'bottom: "pool2"\n  top: "conv3p"\n  include { phase: TRAIN }')], [],
         ["no layer conv3p in phase TEST"]),
        ("net2", [], ["cut.dual={conv4: conv4}"], ["conv4 does not read pool2 but relu3"]),
        ("net2", [], ["cut.dual={conv3: conv4, conv4: conv3p}"], ["conv4 does not read pool2"]),
        ("net2", [], ["cut.dual={conv3: conv3p, relu4: relu4, conv4: conv4}"],
         ["lists conv3p, relu4, conv4", "in the order conv3p, conv4, relu4"]),
        ("net2", [('top: "relu3"', 'top: "conv3p"'), ('bottom: "relu3"', 'bottom: "conv3p"')], [],
         ["layer relu3 overwrites conv3p in place", "top of its own"]),
        # any
        ("single", [('type: "Data"', 'type: "Parameter"')], [],
         ["no data layer in phase TRAIN", "batch size"]),
        ("single", [('name: "relu1"', 'name: "relu1"\n  include { phase: TRAIN }\n'
                     '  exclude { phase: TEST }')], [],
         ["net.prototxt: layer relu1 has include and exclude rules"]),
    ],
)  # fmt: skip
def test_mistakes_in_nets(edit, piece, net, overrides, expected):
    refused(piece, [edit(piece, net), *overrides], *expected)


@pytest.mark.parametrize(
    ("piece", "solver", "overrides", "expected"),
    [
        ("net1", [("max_iter: 1000", "")], ["train.max_iter=null"],
         ["solver.prototxt: max_iter: 0", "train.max_iter"]),
        ("net1", [("test_iter: 6", "test_iter: 6 test_iter: 3")], [], ["2 test_iter", "keep one"]),
        ("net2", [("max_iter: 1000", "max_iter: 1000 iter_size: 4")], ["coupling.target=updated"],
         ["iter_size: 4 with coupling.target: updated", "after its update", "target=gradient"]),
        ("net1", [("max_iter: 1000", "max_iter: 1000 iter_size: 4")], ["coupling.target=admm"],
         ["iter_size: 4 with coupling.target: admm", "at each alternation", "target=gradient"]),
        ("single", [("max_iter: 1000", "max_iter: 1000 iter_size: 0")], [],
         ["iter_size: 0; 1 or more"]),
        ("net1", [('net: "prototxt/digits/net1_train_test.prototxt"', "")], [],
         ["solver.prototxt: no net:", "one train_test prototxt"]),
        ("single", [("base_lr", 'test_net: "x"\nbase_lr')], [], ["net x: no such file"]),
        ("single", [("base_lr", 'train_net: "x"\nbase_lr')], [], ["train_net beside net"]),
        ("single", [("base_lr", "net_param { name: 'x' }\nbase_lr")], [], ["net_param beside net"]),
        ("single", [('"poly"', '"pole"')], [], ["lr_policy: 'pole' is none of fixed, step"]),
        ("single", [('lr_policy: "poly"', "")], [], ["lr_policy: '' is none of"]),
        ("single", [("base_lr", "base_rate")], [], ["solver.prototxt:", "base_rate"]),
    ],
)  # fmt: skip
def test_mistakes_in_solvers(edit, piece, solver, overrides, expected):
    refused(piece, [edit(piece, solver=solver), *overrides], *expected)


@pytest.mark.parametrize("piece", ["single", "net1", "net2"])
def test_pieces_without_a_solver(workdir, piece):
    said = f"{piece}.solver: not given", f"{piece}'s solver prototxt"
    refused(piece, [f"{piece}.solver=''"], *said)


def test_starting_weights_that_are_not_there(workdir):
    refused("net1", ["train.weights=[gone.caffemodel]"], "train.weights: gone.caffemodel: no such")


def test_lr_policy_plays_no_part_under_the_manual_rule(edit):
    setting = edit("single", solver=[('lr_policy: "poly"', "")])
    assert resolve(load(setting, "update.rule=manual"), RunDir("run").piece("single"))


def test_single_may_accumulate_batches(edit):
    setting = edit("single", solver=[("max_iter: 1000", "max_iter: 1000 iter_size: 4")])
    assert resolve(load(setting), RunDir("run").piece("single")).solver.iter_size == 4


# Settings of the config.


def test_solver_takes_over_the_config(workdir):
    config = load(
        "train.max_iter=7", "train.test_iter=2", "train.test_interval=3", "train.display=4",
        "train.snapshot=5", "update.learning_rate=0.25", "seed=9", "net1.device=2",
    )  # fmt: skip
    resolved = resolve(config, RunDir("run").piece("net1"))
    solver = resolved.solver
    assert solver.max_iter == 7
    assert list(solver.test_iter) == [2]
    assert solver.test_interval == 3
    assert solver.snapshot == 5
    assert solver.base_lr == 0.25
    assert solver.random_seed == 9
    assert solver.device_id == 2
    assert solver.solver_mode == solver.GPU
    assert solver.net == resolved.dir.net == "run/net1_train_test.prototxt"
    assert solver.momentum == pytest.approx(0.9)
    # Lines of the log are ours; the solver would write them a second time.
    assert (resolved.display, solver.display) == (4, 0)
    assert resolve(config, RunDir("run").piece("net2")).solver.solver_mode == solver.CPU


def test_solver_keeps_what_the_config_leaves_open(workdir):
    unset = [f"train.{key}=null" for key in ("max_iter", "test_interval", "display", "batch_size")]
    resolved = resolve(load(*unset), RunDir("run").piece("single"))
    solver = resolved.solver
    assert (solver.max_iter, solver.test_interval, resolved.display) == (1000, 200, 20)
    assert solver.base_lr == pytest.approx(0.05)
    assert list(solver.test_iter) == [6]
    assert resolved.batch_size == 64


def test_test_interval_zero_means_no_tests(workdir):
    solver = resolve(load("train.test_interval=0"), RunDir("run").piece("single")).solver
    assert solver.test_interval == NEVER and not solver.test_initialization


def test_batch_size_reaches_training_only(workdir):
    for piece in ("single", "net1", "net2"):
        resolved = resolve(load("train.batch_size=5"), RunDir("run").piece(piece))
        train = {layer.name: batch_size_of(layer) for layer in resolved.train.layers}
        test = {layer.name: batch_size_of(layer) for layer in resolved.test.layers}
        expected = {"single": ["data"], "net1": ["conv3p_data", "data"], "net2": ["pool2_data"]}[
            piece
        ]
        assert [name for name, size in train.items() if size] == expected
        assert all(train[name] == 5 for name in expected)
        assert {size for size in test.values() if size} == {60}
        assert resolved.batch_size == 5


@pytest.mark.parametrize(
    ("overrides", "kind", "python", "weight"),
    [
        (["coupling.target=activation"], "EuclideanLoss", None, 1.0),
        (["coupling.target=gradient", "coupling.gamma=50"], "EuclideanLoss", None, 0.02),
        (["coupling.target=gradient", "coupling.loss_weight=3"], "EuclideanLoss", None, 3.0),
        (["coupling.target=updated", "coupling.loss=listing"],
         "Python", ("EuclideanLossLayer", ""), 1.0),
        (["coupling.target=activation", "coupling.loss=normalized"],
         "Python", ("NormalizedEuclideanLossLayer", "norms: through"), 1.0),
        (["coupling.target=activation", "coupling.loss=normalized_constant",
          "coupling.loss_weight=0.5"],
         "Python", ("NormalizedEuclideanLossLayer", "norms: constant"), 0.5),
        (["coupling.loss=none"], "EuclideanLoss", None, 0.0),
    ],
)  # fmt: skip
def test_loss_of_net1(workdir, overrides, kind, python, weight):
    resolved = resolve(load(*overrides), RunDir("run").piece("net1"))
    (layer,) = [layer for layer in resolved.net.layer if layer.name == "loss"]
    assert layer.type == kind
    if python is None:
        assert not layer.HasField("python_param")
    else:
        assert layer.python_param.module == "dualnet.layers"
        assert (layer.python_param.layer, layer.python_param.param_str) == python
    assert list(layer.loss_weight) == [pytest.approx(weight)]
    assert list(layer.bottom) == ["conv3", "conv3p"]
    assert resolved.is_frozen == (weight == 0)


def test_python_loss_becomes_caffes_own(edit):
    python = 'type: "Python" python_param { module: "dualnet.layers" layer: "EuclideanLossLayer" }'
    setting = edit("net1", [('type: "EuclideanLoss"', python), ("loss_weight: 1", "")])
    as_written = resolve(load(setting, "coupling.target=activation"), RunDir("run").piece("net1"))
    # The thesis's trap: a Python loss without loss_weight.
    assert as_written.is_frozen
    replaced_ = resolve(
        load(setting, "coupling.target=activation", "coupling.loss=euclidean"),
        RunDir("run").piece("net1"),
    )
    (layer,) = [layer for layer in replaced_.net.layer if layer.name == "loss"]
    assert layer.type == "EuclideanLoss" and not layer.HasField("python_param")
    assert not replaced_.is_frozen


def test_python_loss_in_place_of_one_without_weight_is_not_frozen(edit):
    setting = edit("net1", [("loss_weight: 1", "")])
    resolved = resolve(
        load(setting, "coupling.target=activation", "coupling.loss=listing"),
        RunDir("run").piece("net1"),
    )
    assert not resolved.is_frozen


def test_bottoms_of_the_loss_keep_the_order_of_their_propagate_down(edit):
    bottoms = 'bottom: "conv3p" bottom: "conv3" propagate_down: false propagate_down: true'
    setting = edit("net1", [(LOSS1, f'{bottoms} top: "loss"')])
    resolved = resolve(load(setting), RunDir("run").piece("net1"))
    layer = resolved.net.layer[-1]
    assert dict(zip(layer.bottom, layer.propagate_down)) == {"conv3p": False, "conv3": True}


def test_output_of_the_last_dual_layer_is_compared(workdir):
    assert resolve(load(), RunDir("run").piece("net1")).compared_above == {"conv3p": "conv3"}
    assert resolve(load(), RunDir("run").piece("net2")).compared_below == {"conv3p": "conv3p"}
    single = resolve(load(), RunDir("run").piece("single"))
    assert (single.ends, single.compared_above, single.compared_below) == ([], {}, {})


# What is written.


@pytest.mark.parametrize("piece", ["single", "net1", "net2"])
def test_written_prototxt_parse_and_load(workdir, piece):
    os.mkdir("run")
    resolved = resolve(
        load("coupling.loss=normalized", "train.batch_size=4"), RunDir("run").piece(piece)
    )
    assert os.listdir("run") == []
    write(resolved)
    assert sorted(os.listdir("run")) == [f"{piece}_solver.prototxt", f"{piece}_train_test.prototxt"]
    assert read_net(resolved.dir.net) == resolved.net
    assert read_solver(resolved.dir.solver) == resolved.solver
    solver = caffe.get_solver(resolved.dir.solver)
    blob = "pool2" if piece == "net2" else "data"
    assert solver.net.blobs[blob].shape[0] == 4
    assert solver.test_nets[0].blobs[blob].shape[0] == 60


def test_shipped_prototxt_are_left_alone(workdir, repository):
    before = [(repository / path).read_bytes() for path in (NET1, NET2, SINGLE)]
    os.mkdir("run")
    for piece in ("single", "net1", "net2"):
        write(
            resolve(load("coupling.loss=listing", "train.batch_size=4"), RunDir("run").piece(piece))
        )
    assert [(repository / path).read_bytes() for path in (NET1, NET2, SINGLE)] == before


@pytest.mark.parametrize("piece", ["single", "net1", "net2"])
@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_shipped_nets_resolve(workdir, name, piece):
    solver = f"prototxt/{name}/{piece}_solver.prototxt"
    resolved = resolve(
        load(f"{piece}.solver={solver}", "train.batch_size=null"), RunDir("run").piece(piece)
    )
    assert not resolved.is_frozen
    assert text_format.MessageToString(resolved.net).startswith(f'name: "{name}_{piece}"')
