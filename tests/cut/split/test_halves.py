"""Splitting a net: the files that come out, and that training them is training the whole net."""

from __future__ import annotations

import os
import shutil

import pytest

from dualnet import config
from dualnet.cli.cut import parse_shape
from dualnet.cut.graph import NetGraph, read_net, read_solver
from dualnet.cut.split import Request, split, write
from dualnet.errors import UsageError
from tests.cut.both import train_halves, train_whole_and_halved
from tests.cut.singles import CHAIN, DATA, classifier, conv, halved, relu

pytestmark = pytest.mark.usefixtures("workdir")

HALVES = [f"{role}_{kind}.prototxt" for role in ("net1", "net2")
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
def test_shipped_halves_are_the_shipped_single_net_split(
    tmp_path, monkeypatch, repository, name, dual, shape
):
    folder = f"prototxt/{name}"
    (tmp_path / "own" / folder).mkdir(parents=True)
    for file in ("single_train_test.prototxt", "single_solver.prototxt"):
        shutil.copy(str(repository / folder / file), str(tmp_path / "own" / folder))
    (tmp_path / "own" / "data").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "own")
    request = Request(
        f"{folder}/single_train_test.prototxt", ["pool2"], dual.split(), folder,
        shapes={"data": shape} if shape else {},
    )  # fmt: skip
    result = split(request)
    for file in HALVES:
        shipped = (repository / folder / file).read_text()
        written = result.contents[f"{folder}/{file}"]
        assert without_header(written) == without_header(shipped), file
    cut = config.load(str(repository / f"configs/{name}.yaml")).cut
    write(request, result)
    assert config.load(result.yaml).cut == cut


def without_header(text):
    lines = text.splitlines()
    while lines[0].startswith("#"):
        del lines[0]
    return lines


# Training both halves is training the net. One iteration at a rate of 0.05 shows whether a part of
# the gradient is missing: the difference is measured relative to the way that the weights went.

TWO_HEADS = (
    'name: "heads"\n' + DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + conv("conv2", "conv1") + classifier("conv2", "ip_a", "loss_a", "loss_weight: 0.3")
    + relu("relu2", "conv2", "conv2r") + conv("conv3", "conv2r") + classifier("conv3")
)  # fmt: skip
#: The output of the first dual layer is read beside the second.
READ_TWICE = (
    DATA + conv("conv1", "data") + conv("conv2", "conv1") + conv("conv3", "conv2")
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'conv2' bottom: 'conv3' top: 'sum' }\n"
    + relu("relu", "sum") + classifier("sum")
)  # fmt: skip
#: Two branches, of one blob and of what a layer makes of it; the sum is made in place.
TWO_WAYS = (
    DATA + conv("conv1", "data") + conv("left", "conv1") + relu("relu1", "conv1", "positive")
    + conv("right", "positive")
    + "layer { name: 'sum' type: 'Bias' bottom: 'left' bottom: 'right' top: 'left' "
    "bias_param { axis: 0 } }\n"
    + classifier("left")
)  # fmt: skip
#: The data is read above the cut, and labels come in two forms.
FROM_DATA = (
    DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + "layer { name: 'both' type: 'Concat' bottom: 'conv1' bottom: 'data' top: 'both' }\n"
    + conv("conv2", "both") + classifier("conv2")
    + "layer { name: 'ip_b' type: 'InnerProduct' bottom: 'both' top: 'ip_b' "
    "inner_product_param { num_output: 1 weight_filler { type: 'xavier' } } }\n"
    "layer { name: 'half' type: 'Power' bottom: 'label' top: 'half' power_param { scale: 0.5 } }\n"
    "layer { name: 'column' type: 'Reshape' bottom: 'half' top: 'column' "
    "reshape_param { shape { dim: 0 dim: 1 } } }\n"
    "layer { name: 'distance' type: 'EuclideanLoss' bottom: 'ip_b' bottom: 'column' top: 'd' "
    "loss_weight: 0.01 }\n"
)  # fmt: skip
SHARED = "param { name: 'w' } param { name: 'b' }"
#: Parameters shared on one side of the cut; a layer that does not learn; rates of its own.
SHARED_BELOW = (
    DATA + conv("conv0", "data") + conv("conv1", "conv0", more=SHARED)
    + conv("conv2", "conv1", more=SHARED)
    + conv("conv3", "conv2", more="param { lr_mult: 0 } param { lr_mult: 0 }")
    + relu("relu3", "conv3") + conv("conv4", "conv3", more="param { lr_mult: 2 }")
    + classifier("conv4")
)  # fmt: skip
#: The same layers for two inputs, as in Caffe's siamese example.
SIAMESE = (
    DATA
    + conv("left", "data", more=SHARED)
    # Other values than data's: equal branches would cancel, and nothing would be learnt.
    + "layer { name: 'bent' type: 'Power' bottom: 'data' top: 'bent' "
    "power_param { power: 2 scale: 3 shift: -0.5 } }\n"
    + conv("right", "bent", more=SHARED)
    + conv("a", "left", more=SHARED.replace("'w'", "'v'").replace("'b'", "'c'"))
    + conv("b", "right", more=SHARED.replace("'w'", "'v'").replace("'b'", "'c'"))
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'sum' "
    "eltwise_param { coeff: 1 coeff: -1 } }\n" + classifier("sum")
)
#: A loss written in Python, above the cut.
PYTHON = FROM_DATA.replace(
    "type: 'EuclideanLoss'",
    "type: 'Python' python_param { module: 'dualnet.layers' layer: 'EuclideanLossLayer' }",
)
STAGES = CHAIN.replace(
    'name: "chain"', 'name: "chain" state { stage: "three" }'
).replace(
    'top: "conv2" ', 'top: "conv2" include { stage: "three" } '
) + conv("deploy", "conv3", more='include { stage: "deploy" }')  # fmt: skip

TOPOLOGIES = {
    "in place on the cut": (CHAIN, "conv2", "conv3"),
    "in place on the dual output": (CHAIN, "conv1", "conv2"),
    "in-place layer in the section": (CHAIN, "conv1", "conv2 relu2"),
    "two convolutions in the section": (CHAIN, "conv1", "conv3 conv2 relu2"),
    "cut blob with a loss below": (TWO_HEADS, "conv2r", "conv3"),
    "cut blob with two readers": (TWO_HEADS, "conv2", "relu2"),
    "loss above the cut blob": (TWO_HEADS, "conv1", "conv2"),
    "dual output read in the section": (READ_TWICE, "conv1", "conv2 conv3"),
    "cut blob read above the section": (READ_TWICE, "conv2", "conv3"),
    "two branches from the cut": (TWO_WAYS, "conv1", "left"),
    "crossing blob overwritten above": (TWO_WAYS, "positive", "right"),
    "section that overwrites a crossing blob": (TWO_WAYS, "right", "sum"),
    "branch beside the cut": (TWO_WAYS, "right", "sum"),
    "data and labels above": (FROM_DATA, "conv1", "both"),
    "data above, some of it": (FROM_DATA, "both", "conv2"),
    "shared below": (SHARED_BELOW, "conv2", "conv3"),
    "section that does not learn": (SHARED_BELOW, "conv2", "conv3 relu3"),
    "shared by both branches": (SIAMESE, "left right", "a b"),
    "Python loss": (PYTHON, "conv1", "both"),
    "stages": (STAGES, "conv1", "conv2"),
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_one_iteration_is_that_of_the_single_net(tmp_path, name):
    text, at, dual = TOPOLOGIES[name]
    yaml, _, _ = halved(tmp_path / "nets", text, at, dual)
    outcome = train_whole_and_halved(yaml, "run", 1, "update.learning_rate=0.05")
    assert outcome.step < 1e-3, outcome
    assert outcome.weight < 1e-6, outcome
    # Both nets have learnt, or nothing was compared.
    assert {role.split()[0] for role in outcome.steps} == {"net1", "net2"}


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
    request = Request(f"tests/cut/nets/{net}_train_test.prototxt", at.split(), dual.split(), "cut")
    result = split(request)
    write(request, result)
    outcome = train_whole_and_halved(result.yaml, "run", 10, "update.learning_rate=0.001")
    assert outcome.weight < 1e-4, outcome
    assert outcome.step < 1e-2, outcome
    assert outcome.losses[0] != outcome.losses[-1]


def test_a_missing_pair_would_be_seen(tmp_path):
    """The measure above is worth something: without the shortcut's loss the halves go elsewhere."""
    yaml, texts, _ = halved(tmp_path / "nets", READ_TWICE, "conv2", "conv3")
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
    outcome = train_whole_and_halved(yaml, "run", 1, "update.learning_rate=0.05")
    assert outcome.step > 0.1


# What the files say.


def test_in_place_layer_on_the_dual_output_gets_its_own_top(tmp_path):
    _, texts, _ = halved(tmp_path / "nets", CHAIN, "conv1", "conv2")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert 'name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1"' in net1
    assert "relu2" not in net1
    assert 'name: "relu2" type: "ReLU" bottom: "conv2p" top: "relu2"' in net2
    assert 'name: "conv3" type: "Convolution" bottom: "relu2" top: "conv3"' in net2
    assert 'name: "relu3" type: "ReLU" bottom: "conv3" top: "conv3"' in net2


def test_gradient_of_a_section_that_ends_in_place_is_kept(tmp_path):
    _, texts, _ = halved(tmp_path / "nets", CHAIN, "conv1", "conv2 relu2")
    assert (
        'name: "relu2p" type: "ReLU" bottom: "conv2p" top: "relu2p"'
        in (texts["net2_train_test.prototxt"])
    )
    assert "compared" not in texts["dual.yaml"], "the last pair's output is the default"


def test_shortcut_is_led_around_the_section(tmp_path):
    yaml, texts, _ = halved(tmp_path / "nets", READ_TWICE, "conv2", "conv3")
    net2 = texts["net2_train_test.prototxt"]
    assert "force_backward: true" in net2
    graph = NetGraph(read_net(yaml.replace("dual.yaml", "net2_train_test.prototxt")), "TRAIN", "")
    assert list(graph.layer("conv2_split", "").top) == ["conv2p"]
    assert list(graph.layer("conv3p", "").bottom) == ["conv2"]
    assert list(graph.layer("sum", "").bottom) == ["conv2p", "conv3p"]
    cut = config.load(yaml).cut
    assert (cut.blobs, cut.labels) == (["conv2"], ["label"])
    assert cut.compared == {"conv2": "conv2p", "conv3": "conv3p"}


def test_what_crosses_unasked_is_found_and_said(tmp_path):
    yaml, _, remarks = halved(tmp_path / "nets", TWO_WAYS, "right", "sum")
    assert "also crossing the cut: left" in remarks
    assert config.load(yaml).cut.blobs == ["right", "left"]


def test_auxiliary_loss_below_stays_in_net1_behind_the_cut(tmp_path):
    _, texts, _ = halved(tmp_path / "nets", TWO_HEADS, "conv2r", "conv3")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert "loss_weight: 0.3" in net1 and "ip_a" not in net2
    assert net1.index('"relu2"') < net1.index('"ip_a"'), "what net2 waits for comes first"


def test_names_that_are_taken_are_avoided(tmp_path):
    text = CHAIN.replace('"conv3"', '"conv2p"').replace('"relu1"', '"conv2p_data"')
    yaml, texts, _ = halved(tmp_path / "nets", text, "conv1", "conv2")
    assert config.load(yaml).cut.dual == {"conv2": "conv2pp"}
    assert 'name: "conv2pp_data"' in texts["net1_train_test.prototxt"]


def test_comments_stay_with_their_layers_and_what_is_lost_is_said(tmp_path):
    text = (
        "# About the file.\n" + CHAIN.replace(
            'layer { name: "conv3"', '# Why conv3.\nlayer { name: "conv3"'
        ).replace('layer { name: "conv1"', '# Why conv1.\nlayer { name: "conv1"')
    )  # fmt: skip
    _, texts, remarks = halved(tmp_path / "nets", text, "conv2", "conv3")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert "# Why conv1.\nlayer" in net1 and "# Why conv1" not in net2
    assert "# Why conv3.\nlayer" in net1 and "# Why conv3.\nlayer" in net2
    assert "About" not in net1 + net2
    assert any("1 line of comment about the file not kept" in remark for remark in remarks)


def test_header_repeats_the_command(tmp_path):
    _, texts, _ = halved(
        tmp_path / "my nets", CHAIN, "conv2", "conv3", target="updated", tie="every",
        loss="normalized",
    )  # fmt: skip
    for name in ("net1_train_test.prototxt", "net2_train_test.prototxt", "dual.yaml"):
        header = [line for line in texts[name].splitlines() if line.startswith("#")]
        command = " ".join(line.strip("# \\") for line in header)
        assert "dualnet split '" in command and "--at conv2 --dual conv3" in command
        assert "--loss normalized --target updated --tie every" in command


def test_coupling_of_the_yaml_is_what_was_asked_for(tmp_path):
    yaml, _, _ = halved(
        tmp_path / "nets", CHAIN, "conv2", "conv3", target="updated", tie="every",
        loss="normalized",
    )  # fmt: skip
    coupling = config.load(yaml).coupling
    assert (coupling.target, coupling.tie, coupling.loss) == ("updated", "every", "normalized")


@pytest.mark.parametrize(
    ("more", "at", "dual", "remark"),
    [
        ("layer { name: 'x' type: 'Dropout' bottom: 'conv2' top: 'x' }", "conv2", "x",
         "dual layer x: net1 and net2 drop different values"),
        ("layer { name: 'x' type: 'BatchNorm' bottom: 'conv2' top: 'x' }", "conv2", "x",
         "dual layer x: both nets keep moving averages of their own"),
        ("layer { name: 'x' type: 'Pooling' bottom: 'conv2' top: 'x' pooling_param { "
         "pool: STOCHASTIC kernel_size: 2 } }", "conv2", "x",
         "dual layer x: net1 and net2 pool by different random numbers"),
        ("layer { name: 'x' type: 'ReLU' bottom: 'conv2' top: 'x' include { stage: 's' } }\n"
         "layer { name: 'x2' type: 'ReLU' bottom: 'conv2' top: 'x' include { not_stage: 's' } }",
         "conv2", "x2", "left out, as neither phase TRAIN nor TEST has them: x"),
    ],
)  # fmt: skip
def test_remarks(tmp_path, more, at, dual, remark):
    text = DATA + conv("conv1", "data") + conv("conv2", "conv1") + more + classifier("x")
    _, _, remarks = halved(tmp_path / "nets", text, at, dual)
    assert any(remark in one for one in remarks), remarks


def test_accuracy_in_training_moves_to_the_tests_where_all_layers_go_backward(tmp_path):
    accuracy = "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' }\n"
    yaml, texts, remarks = halved(tmp_path / "nets", READ_TWICE + accuracy, "conv2", "conv3")
    assert any("layer acc runs in tests only" in remark for remark in remarks)
    train_halves(yaml, "run", "train.max_iter=2", "train.test_interval=0", "train.display=0")


def test_net_without_a_test_phase(tmp_path):
    text = CHAIN.replace(DATA, DATA[: DATA.rindex("layer")])
    solver = "net: 'single_train_test.prototxt' base_lr: 0.01 lr_policy: 'fixed' max_iter: 3"
    from tests.cut.singles import write_single

    path = write_single(tmp_path / "nets", text, solver)
    request = Request(path, ["conv2"], ["conv3"], str(tmp_path / "cut"))
    result = split(request)
    assert any(remark.startswith("no phase TEST, as the solver") for remark in result.remarks)
    write(request, result)
    train_halves(result.yaml, "run", "train.display=0")


def test_net_that_programs_feed(tmp_path):
    """`input` fields, as nets had them before 2016: the same for both phases."""
    inputs = "input: 'data' input_dim: [16, 1, 8, 8] input: 'label' input_dim: [16, 1, 1, 1]\n"
    yaml, texts, remarks = halved(
        tmp_path / "nets", inputs + CHAIN.replace(DATA, ""), "conv1", "conv2"
    )
    assert any("layer input of type Input: nothing fills data, label" in one for one in remarks)
    net2 = read_net(yaml.replace("dual.yaml", "net2_train_test.prototxt"))
    (feed,) = [layer for layer in net2.layer if layer.type == "Input"]
    assert not feed.include
    shapes = [list(shape.dim) for shape in feed.input_param.shape]
    assert shapes == [[16, 4, 8, 8], [16, 1, 1, 1]]
    train_halves(yaml, "run", "train.max_iter=2", "train.test_interval=0", "train.display=0")


def test_solver_keeps_its_text_but_for_two_values(tmp_path):
    from tests.cut.singles import SOLVER, write_single

    text = SOLVER.replace("max_iter", "# How long.\nmax_iter") + "train_net: 'old' test_net: 'o'\n"
    path = write_single(tmp_path / "nets", CHAIN, SOLVER.replace("max_iter", "# Why.\nmax_iter"))
    result = split(Request(path, ["conv2"], ["conv3"], "cut"))
    written = result.contents["cut/net2_solver.prototxt"]
    expected = SOLVER.replace("max_iter", "# Why.\nmax_iter")
    expected = expected.replace("single_train_test.prototxt", "cut/net2_train_test.prototxt")
    assert written == expected.replace('"single"', '"net2"')
    write_single(tmp_path / "nets", CHAIN, text)
    result = split(Request(path, ["conv2"], ["conv3"], "cut"))
    with open("net2_solver.prototxt", "w", encoding="utf-8") as file:
        file.write(result.contents["cut/net2_solver.prototxt"])
    solver = read_solver("net2_solver.prototxt")
    assert solver.net == "cut/net2_train_test.prototxt" and not solver.train_net
    assert any("1 line of comment not kept" in remark for remark in result.remarks)


def test_clipping_is_said_to_differ(tmp_path):
    from tests.cut.singles import SOLVER, write_single

    path = write_single(tmp_path / "nets", CHAIN, SOLVER + "clip_gradients: 5\n")
    remarks = split(Request(path, ["conv2"], ["conv3"], "cut")).remarks
    assert any("clip_gradients 5: each half clips by the norm" in remark for remark in remarks)


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


@pytest.mark.parametrize("shape", ["data", "data=", "data=3,x", "data=3,0", "=3"])
def test_shapes_that_are_none(shape):
    with pytest.raises(UsageError, match=f"--shape {shape}: expected BLOB=C,H,W"):
        parse_shape(shape)


def test_shape_of_a_sample():
    assert parse_shape("data=3,32,16") == ("data", [3, 32, 16])
