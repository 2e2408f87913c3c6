"""What the text of both nets says."""

from __future__ import annotations

import pytest

from dualnet import config
from dualnet.cut.graph import NetGraph, read_net
from tests.cut.singles import CHAIN, cut_in_two
from tests.cut.split.topologies import READ_TWICE, TWO_HEADS

pytestmark = pytest.mark.usefixtures("workdir")


def test_in_place_layer_on_the_dual_output_gets_its_own_top(tmp_path):
    _, texts, _ = cut_in_two(tmp_path / "nets", CHAIN, "conv1", "conv2")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert 'name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1"' in net1
    assert "relu2" not in net1
    assert 'name: "relu2" type: "ReLU" bottom: "conv2p" top: "relu2"' in net2
    assert 'name: "conv3" type: "Convolution" bottom: "relu2" top: "conv3"' in net2
    assert 'name: "relu3" type: "ReLU" bottom: "conv3" top: "conv3"' in net2


def test_gradient_of_a_section_that_ends_in_place_is_kept(tmp_path):
    _, texts, _ = cut_in_two(tmp_path / "nets", CHAIN, "conv1", "conv2 relu2")
    assert (
        'name: "relu2p" type: "ReLU" bottom: "conv2p" top: "relu2p"'
        in (texts["net2_train_test.prototxt"])
    )
    assert "compared" not in texts["dual.yaml"], "the last pair's output is the default"


def test_shortcut_is_led_around_the_section(tmp_path):
    yaml, texts, _ = cut_in_two(tmp_path / "nets", READ_TWICE, "conv2", "conv3")
    net2 = texts["net2_train_test.prototxt"]
    assert "force_backward" not in net2
    graph = NetGraph(read_net(yaml.replace("dual.yaml", "net2_train_test.prototxt")), "TRAIN", "")
    assert list(graph.layer("conv2_split", "").top) == ["conv2p"]
    assert list(graph.layer("conv3p", "").bottom) == ["conv2"]
    assert list(graph.layer("sum", "").bottom) == ["conv2p", "conv3p"]
    cut = config.load(yaml).cuts[0]
    assert (cut.blobs, cut.labels) == (["conv2"], ["label"])
    assert cut.compared == {"conv2": "conv2p", "conv3": "conv3p"}


def test_auxiliary_loss_below_stays_in_net1_behind_the_cut(tmp_path):
    _, texts, _ = cut_in_two(tmp_path / "nets", TWO_HEADS, "conv2r", "conv3")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert "loss_weight: 0.3" in net1 and "ip_a" not in net2
    assert net1.index('"relu2"') < net1.index('"ip_a"'), "what net2 waits for comes first"


def test_names_that_are_taken_are_avoided(tmp_path):
    text = CHAIN.replace('"conv3"', '"conv2p"').replace('"relu1"', '"conv2p_data"')
    yaml, texts, _ = cut_in_two(tmp_path / "nets", text, "conv1", "conv2")
    assert config.load(yaml).cuts[0].dual == {"conv2": "conv2pp"}
    assert 'name: "conv2pp_data"' in texts["net1_train_test.prototxt"]


def test_comments_stay_with_their_layers_and_what_is_lost_is_said(tmp_path):
    text = (
        "# About the file.\n" + CHAIN.replace(
            'layer { name: "conv3"', '# Why conv3.\nlayer { name: "conv3"'
        ).replace('layer { name: "conv1"', '# Why conv1.\nlayer { name: "conv1"')
    )  # fmt: skip
    _, texts, remarks = cut_in_two(tmp_path / "nets", text, "conv2", "conv3")
    net1, net2 = texts["net1_train_test.prototxt"], texts["net2_train_test.prototxt"]
    assert "# Why conv1.\nlayer" in net1 and "# Why conv1" not in net2
    assert "# Why conv3.\nlayer" in net1 and "# Why conv3.\nlayer" in net2
    assert "About" not in net1 + net2
    assert any("1 line of comment about the file not kept" in remark for remark in remarks)


def test_header_repeats_the_command(tmp_path):
    _, texts, _ = cut_in_two(
        tmp_path / "my nets", CHAIN, "conv2", "conv3", target="updated", tie="every",
        loss="normalized",
    )  # fmt: skip
    for name in ("net1_train_test.prototxt", "net2_train_test.prototxt", "dual.yaml"):
        header = [line for line in texts[name].splitlines() if line.startswith("#")]
        command = " ".join(line.strip("# \\") for line in header)
        assert "dualnet split '" in command and "--at conv2 --dual conv3" in command
        assert "--loss normalized --target updated --tie every" in command
