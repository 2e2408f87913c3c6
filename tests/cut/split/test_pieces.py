"""Splitting a net: training the pieces is training the whole net."""

from __future__ import annotations

import os
import shutil

import pytest

from dualnet import config
from dualnet.cut.graph import read_net
from dualnet.cut.split import Request, split, write
from tests.cut.both import train_pieces, train_whole_and_cut
from tests.cut.singles import CHAIN, DATA, cut_in_two, write_single
from tests.cut.split.topologies import READ_TWICE, TOPOLOGIES

pytestmark = pytest.mark.usefixtures("workdir")

PIECES = [f"{piece}_{kind}.prototxt" for piece in ("net1", "net2")
          for kind in ("train_test", "solver")]  # fmt: skip


# The shipped nets.


@pytest.mark.parametrize(
    ("name", "dual", "shape"),
    [
        ("digits", "conv3", None),
        ("cifar10", "conv3", (3, 32, 32)),
        ("cats_dogs", "norm2 conv3", (3, 227, 227)),
    ],
)
def test_shipped_pieces_are_the_shipped_single_net_split(
    tmp_path, monkeypatch, repository, name, dual, shape
):
    folder = f"prototxt/{name}"
    (tmp_path / "own" / folder).mkdir(parents=True)
    for file in ("single_train_test.prototxt", "single_solver.prototxt"):
        shutil.copy(str(repository / folder / file), str(tmp_path / "own" / folder))
    (tmp_path / "own" / "data").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "own")
    request = Request(
        f"{folder}/single_train_test.prototxt", [(["pool2"], dual.split())], folder,
        shapes={"data": shape} if shape else {},
    )  # fmt: skip
    result = split(request)
    for file in PIECES:
        # Caffe's tools look for a net where they run; what `split` writes stands beside its solver.
        shipped = (repository / folder / file).read_text().replace(f'net: "{folder}/', 'net: "')
        written = result.contents[f"{folder}/{file}"]
        assert without_header(written) == without_header(shipped), file
    cut = config.load(str(repository / f"configs/{name}.yaml")).cuts[0]
    write(request, result)
    assert config.load(result.yaml).cuts[0] == cut


def without_header(text):
    lines = text.splitlines()
    while lines[0].startswith("#"):
        del lines[0]
    return lines


# Training both pieces is training the net. One iteration at a rate of 0.05 shows whether a part of
# the gradient is missing: the difference is measured relative to the way that the weights went.


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_one_iteration_is_that_of_the_single_net(tmp_path, name):
    text, at, dual = TOPOLOGIES[name]
    yaml, _, _ = cut_in_two(tmp_path / "nets", text, at, dual)
    outcome = train_whole_and_cut(yaml, "run", 1, "update.learning_rate=0.05")
    assert outcome.step < 1e-3, outcome
    assert outcome.weight < 1e-6, outcome
    # Both nets have learnt, or nothing was compared.
    assert {piece.split()[0] for piece in outcome.steps} == {"net1", "net2"}


RESIDUAL = [
    ("a1", "a2"),
    ("a", "b1"),
    ("conv1", "a1 a1_bn a1_scale"),
    ("b1", "b2 b b_relu"),
]
BRANCHES = [
    ("m1/3x3_reduce", "m1/3x3"),
    ("m1/1x1", "m1/output"),
    ("norm1", "m1/1x1 m1/3x3_reduce"),
    ("m1/output", "m2/1x1 m2/3x3 m2/relu_3x3"),
    ("m2/output", "pool2"),
]


@pytest.mark.parametrize(
    ("net", "at", "dual"),
    [("residual", *cut) for cut in RESIDUAL] + [("branches", *cut) for cut in BRANCHES],
)
def test_ten_iterations_are_those_of_the_single_net(repository, monkeypatch, net, at, dual):
    (repository / "tests").exists()
    os.symlink(str(repository / "tests"), "tests")
    request = Request(
        f"tests/cut/nets/{net}_train_test.prototxt", [(at.split(), dual.split())], "cut"
    )
    result = split(request)
    write(request, result)
    outcome = train_whole_and_cut(result.yaml, "run", 10, "update.learning_rate=0.001")
    assert outcome.weight < 1e-4, outcome
    assert outcome.step < 1e-2, outcome
    assert outcome.losses[0] != outcome.losses[-1]


def test_a_missing_pair_would_be_seen(tmp_path):
    """The measure above is worth something: without the shortcut's loss the pieces go elsewhere."""
    yaml, texts, _ = cut_in_two(tmp_path / "nets", READ_TWICE, "conv2", "conv3")
    assert "conv2: conv2p" in texts["dual.yaml"]
    with open(yaml, encoding="utf-8") as file:
        text = file.read()
    with open(yaml, "w", encoding="utf-8") as file:
        file.write(text.replace("    conv2: conv2p\n", ""))
    net1 = yaml.replace("dual.yaml", "net1_train_test.prototxt")
    layers = texts["net1_train_test.prototxt"].split("layer {")
    layers = [layer for layer in layers if '"conv2_loss"' not in layer]
    with open(net1, "w", encoding="utf-8") as file:
        file.write("layer {".join(layers))
    outcome = train_whole_and_cut(yaml, "run", 1, "update.learning_rate=0.05")
    assert outcome.step > 0.1


def test_accuracy_in_training_stays_where_a_gradient_reaches_the_cut(tmp_path):
    accuracy = "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' }\n"
    yaml, texts, remarks = cut_in_two(tmp_path / "nets", READ_TWICE + accuracy, "conv2", "conv3")
    assert not any("layer acc" in remark for remark in remarks)
    train_pieces(yaml, "run", "train.max_iter=2", "train.test_interval=0", "train.display=0")


def test_net_without_a_test_phase(tmp_path):
    text = CHAIN.replace(DATA, DATA[: DATA.rindex("layer")])
    solver = "net: 'single_train_test.prototxt' base_lr: 0.01 lr_policy: 'fixed' max_iter: 3"
    path = write_single(tmp_path / "nets", text, solver)
    request = Request(path, [(["conv2"], ["conv3"])], str(tmp_path / "cut"))
    result = split(request)
    assert any(remark.startswith("no phase TEST, as the solver") for remark in result.remarks)
    write(request, result)
    train_pieces(result.yaml, "run", "train.display=0")


def test_net_that_programs_feed(tmp_path):
    """`input` fields, as nets had them before 2016: the same for both phases."""
    inputs = "input: 'data' input_dim: [16, 1, 8, 8] input: 'label' input_dim: [16, 1, 1, 1]\n"
    yaml, texts, remarks = cut_in_two(
        tmp_path / "nets", inputs + CHAIN.replace(DATA, ""), "conv1", "conv2"
    )
    assert any("layer input of type Input: nothing fills data, label" in one for one in remarks)
    net2 = read_net(yaml.replace("dual.yaml", "net2_train_test.prototxt"))
    (feed,) = [layer for layer in net2.layer if layer.type == "Input"]
    assert not feed.include
    shapes = [list(shape.dim) for shape in feed.input_param.shape]
    assert shapes == [[16, 4, 8, 8], [16, 1, 1, 1]]
    train_pieces(yaml, "run", "train.max_iter=2", "train.test_interval=0", "train.display=0")


# The command.


@pytest.mark.slow
def test_command_splits_and_what_it_wrote_trains(dualnet, workdir):
    done = dualnet(
        "split", "prototxt/digits/single_train_test.prototxt", "--at", "conv1", "--dual", "pool1",
        "conv2", "-o", "nets",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train with: dualnet train nets/dual.yaml" in done.stderr
    done = dualnet("train", "nets/dual.yaml", "--run-dir", "run", "--set", "train.max_iter=20")
    assert done.returncode == 0, done.stderr
    done = dualnet("split", "prototxt/digits/single_train_test.prototxt", "--at", "conv1",
                   "--dual", "pool1", "-o", "nets")  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") <= 2
    assert "nets/net1_train_test.prototxt: is there already" in done.stderr
