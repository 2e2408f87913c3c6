"""A net cut several times: its pieces together get the gradients of the single net."""

from __future__ import annotations

import dataclasses
import os

import pytest

from dualnet import config
from dualnet.backend import caffe
from dualnet.cut.split import Request, split
from dualnet.errors import ConfigError
from tests.cut.chain import Chain, compare, cut_up, write_images
from tests.cut.singles import CHAIN, write_single
from tests.cut.split.chains import CHAINS, RESIDUAL, SHORTCUT

pytestmark = pytest.mark.usefixtures("workdir")

#: Largest relative difference of a layer's gradient. A target rounds y - gamma g once at each cut.
TOLERANCE = {"gradient": 2e-5, "backprop": 2e-6}


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("name", CHAINS)
def test_each_parameter_gets_the_single_nets_gradient(tmp_path, name, target):
    text, cuts = CHAINS[name]
    path = write_single(tmp_path / "nets", text)
    yaml, _ = cut_up(path, cuts)
    differences = compare(path, yaml, target)
    assert max(differences.values()) < TOLERANCE[target], differences
    assert {place.split()[0] for place in differences} == {
        f"net{n + 1}" for n in range(len(cuts) + 1)
    }


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize(
    ("net", "cuts"),
    [
        ("residual", [("conv1", "a1 a1_bn a1_scale"), ("a2", "a a_relu b0")]),
        ("residual", [("a1", "a2 a2_bn"), ("a", "b1"), ("b1", "b2 b")]),
        ("branches", [("norm1", "m1/1x1"), ("m1/3x3_reduce", "m1/3x3"), ("m2/1x1", "m2/output")]),
    ],
)
def test_nets_with_batch_norm_and_inception_modules(repository, net, cuts, target):
    os.symlink(str(repository / "tests"), "tests")
    path = f"tests/cut/nets/{net}_train_test.prototxt"
    yaml, _ = cut_up(path, cuts)
    differences = compare(path, yaml, target)
    assert max(differences.values()) < TOLERANCE[target], differences


CUTS = [("conv1", "pool1 conv2"), ("pool2", "conv3"), ("relu3", "conv4")]


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_digits_net_in_pieces(target, pieces):
    path = "prototxt/digits/single_train_test.prototxt"
    yaml, _ = cut_up(path, CUTS[: pieces - 1])
    differences = compare(path, yaml, target)
    assert max(differences.values()) < TOLERANCE[target], differences


CIFAR10 = "prototxt/cifar10/single_train_test.prototxt"
CIFAR10_CUTS = [("pool1", "conv2"), ("pool2", "conv3"), ("relu3", "conv4")]


@pytest.mark.parametrize("target", ["gradient", "backprop"])
@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_cifar10_net_in_pieces(target, pieces):
    write_images()
    yaml, _ = cut_up(CIFAR10, CIFAR10_CUTS[: pieces - 1])
    differences = compare(CIFAR10, yaml, target, batch=8)
    assert max(differences.values()) < TOLERANCE[target], differences


def write_beside(result):
    """Write a split's YAML as if it stood where the shipped pieces are; its path."""
    folder = os.path.dirname(os.path.abspath(result.yaml))
    text = result.contents[result.yaml].replace("solver: ", f"solver: {folder}/")
    with open("written.yaml", "w", encoding="utf-8") as file:
        file.write(text)
    return "written.yaml"


def test_shipped_three_pieces_are_what_split_writes(repository):
    write_images()
    result = split(Request(CIFAR10, [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])],
                           "prototxt/cifar10_three"))  # fmt: skip
    for path, text in result.contents.items():
        if not path.endswith(".yaml"):
            # Caffe's tools look for a net where they run; `split` names it beside its solver.
            folder = os.path.dirname(path)
            shipped = (repository / path).read_text().replace(f'net: "{folder}/', 'net: "')
            assert shipped == text, path
    shipped = config.load("configs/cifar10_three.yaml")
    written = config.load(write_beside(result)).with_files(os.path.abspath)
    assert shipped.with_files(os.path.abspath) == dataclasses.replace(written, name="cifar10_three")
    chain = Chain("configs/cifar10_three.yaml", "run", batch=4)
    chain.step()


def test_shipped_three_pieces_for_the_digits_are_what_split_writes(repository):
    single = "prototxt/digits/single_train_test.prototxt"
    cuts = [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])]
    result = split(Request(single, cuts, "prototxt/digits_three"))
    for path, text in result.contents.items():
        if not path.endswith(".yaml"):
            # Caffe's tools look for a net where they run; `split` names it beside its solver.
            folder = os.path.dirname(path)
            shipped = (repository / path).read_text().replace(f'net: "{folder}/', 'net: "')
            assert shipped == text, path
    shipped = config.load("configs/digits_three.yaml")
    written = config.load(write_beside(result))
    assert (shipped.cuts, shipped.coupling) == (written.cuts, written.coupling)
    one, two = (made.with_files(os.path.abspath).pieces for made in (shipped, written))
    assert [piece.solver for piece in one] == [piece.solver for piece in two]


def test_measure_sees_a_lost_gradient(tmp_path):
    """Without the pair that brings the shortcut's gradient down, net1 gets another one."""
    path = write_single(tmp_path / "nets", SHORTCUT)
    yaml, result = cut_up(path, CHAINS["shortcut over a piece"][1])
    with open(yaml, encoding="utf-8") as file:
        text = file.read()
    assert text.count("conv1p: conv1pp") == 1
    with open(yaml, "w", encoding="utf-8") as file:
        file.write(text.replace("      conv1p: conv1pp\n", ""))
    net2 = "cut/net2_train_test.prototxt"
    layers = [one for one in result.contents[net2].split("layer {") if '"conv1p_loss"' not in one]
    with open(net2, "w", encoding="utf-8") as file:
        file.write("layer {".join(layers))
    assert compare(path, yaml, "gradient")["net1 conv1"] > 0.1


# What passes over a piece.


def test_a_shortcut_over_a_piece_is_no_label(tmp_path):
    path = write_single(tmp_path / "nets", SHORTCUT)
    yaml, _ = cut_up(path, CHAINS["shortcut over a piece"][1])
    first, second = config.load(yaml).cuts
    assert (first.blobs, first.labels) == (["conv1"], ["label"])
    assert (second.blobs, second.labels) == (["conv2p", "conv1p"], ["label"])
    assert second.compared == {"conv1p": "conv1pp", "conv3": "conv3p"}


def test_labels_are_handed_on_by_each_piece_to_those_that_need_them(tmp_path):
    text, cuts = CHAINS["losses on all pieces"]
    yaml, _ = cut_up(write_single(tmp_path / "nets", text), cuts)
    assert [cut.labels for cut in config.load(yaml).cuts] == [["label"]] * 3
    text, cuts = CHAINS["data and labels above"]
    yaml, _ = cut_up(write_single(tmp_path / "nets", text), cuts, "other")
    # Half the labels, as a column, are made in net1, where the labels are.
    labels = [set(cut.labels) for cut in config.load(yaml).cuts]
    assert labels == [{"column", "data", "label"}] * 2


def test_pieces_test_what_the_single_net_tests(tmp_path):
    """In phase TEST, too, each piece gets all that it reads, and none of what comes down."""
    text, cuts = CHAINS["shortcuts over pieces"]
    yaml, result = cut_up(write_single(tmp_path / "nets", text), cuts)
    for number in range(1, len(cuts) + 2):
        net = caffe.Net(f"cut/net{number}_train_test.prototxt", caffe.TEST)
        fed = {name for name, kind in zip(net._layer_names, net.layers) if kind.type == "Input"}
        assert len(fed) == (number > 1)


# Names and files.


def test_two_pieces_keep_the_sections_of_two(tmp_path):
    yaml, result = cut_up(write_single(tmp_path / "nets"), [("conv2", "conv3")])
    assert "\nnet1:\n" in result.contents[yaml] and "\npieces:" not in result.contents[yaml]


def test_cuts_are_named_in_the_single_nets_words(tmp_path):
    """Cut 2 at conv2: net2's dual copy of it, whose ReLU has a top of its own there."""
    path = write_single(tmp_path / "nets")
    yaml, result = cut_up(path, [("conv1", "conv2"), ("conv2", "conv3")])
    second = config.load(yaml).cuts[1]
    assert (second.blobs, dict(second.dual)) == (["relu2"], {"conv3": "conv3p"})
    command = " ".join(result.contents[yaml].split("Made by")[1].split("name:")[0].split())
    assert "--at conv1 --dual conv2 --at conv2" in command.replace("\\ # ", "")
    assert sorted(os.listdir("cut")) == ["dual.yaml"] + [
        f"net{n}_{kind}.prototxt" for n in (1, 2, 3) for kind in ("solver", "train_test")
    ]


def test_comments_of_layers_stay_in_the_piece_that_has_them(tmp_path):
    text = CHAIN.replace('layer { name: "conv3"', '# The third.\nlayer { name: "conv3"')
    _, result = cut_up(
        write_single(tmp_path / "nets", text), [("conv1", "conv2"), ("conv2", "conv3")]
    )
    assert "# The third." in result.contents["cut/net2_train_test.prototxt"]
    assert "# The third." in result.contents["cut/net3_train_test.prototxt"]
    assert not any("comment" in remark for remark in result.remarks)


# Refused.

REFUSED = {
    "the wrong order": (
        CHAIN, [("conv2", "conv3"), ("conv1", "conv2")],
        ["cut 2 (--at conv1): conv1 does not come after cut 1 (--at conv2)", "in the order from"]),
    "the same cut twice": (
        CHAIN, [("conv1", "conv2"), ("conv1", "conv2")],
        ["cut 2 (--at conv1): dual layer conv2 of cut 1 does not come before it"]),
    "a cut inside a dual section": (
        CHAIN, [("conv1", "conv2 relu2 conv3"), ("conv2", "conv3")],
        ["cut 2 (--at conv2): dual layer conv3 of cut 1", "cut after conv3"]),
    "an unknown blob": (CHAIN, [("conv1", "conv2"), ("conv22", "conv3")],
        ["--at conv22: no such blob; did you mean conv2?"]),
    "a layer of the piece below": (
        RESIDUAL, [("conv1", "a1"), ("a2", "a2")], ["--dual a2: it comes before the cut"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path, name):
    text, cuts, parts = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        cut_up(write_single(tmp_path / "nets", text), cuts)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message
    assert not os.path.exists("cut")


def test_net2_that_split_wrote_is_refused_where_a_gradient_would_be_lost(tmp_path):
    path = write_single(tmp_path / "nets", SHORTCUT)
    cut_up(path, [("conv1", "conv2")], "two")
    with pytest.raises(ConfigError, match=r"conv1p: comes from an input.*all cuts .* one command"):
        cut_up("two/net2_train_test.prototxt", [("conv2p", "conv3")], "three")


def test_net2_that_split_wrote_is_split_where_no_gradient_passes_it(tmp_path):
    path = write_single(tmp_path / "nets")
    cut_up(path, [("conv1", "conv2")], "two")
    yaml, result = cut_up("two/net2_train_test.prototxt", [("relu2", "conv3")], "three")
    together, _ = cut_up(path, [("conv1", "conv2"), ("conv2", "conv3")])
    assert config.load(yaml).cuts[0] == config.load(together).cuts[1]
