"""Drawings: what is in them."""

from __future__ import annotations

import re

import pytest

from dualnet import config as cfg
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.cut.split import Request, split, write
from dualnet.errors import ConfigError
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS


@pytest.fixture
def drawn(workdir):
    """The drawing of the digits run's nets."""

    def make(*overrides):
        config = cfg.load("configs/digits.yaml", overrides)
        return draw(load_graphs(config), config)

    return make


def edges(text):
    """(from, to) of every visible arrow."""
    found = re.findall(r'^ *"([^"]*)" -> "([^"]*)"( \[constraint.*)?;$', text, re.MULTILINE)
    return [(b, a) if "dir=back" in look else (a, b) for a, b, look in found]


def rows_of(text):
    """The boxes that stand at one height."""
    return [
        list(dict.fromkeys(re.findall('"([^"]*)"', line)))
        for line in text.splitlines()
        if "rank=same" in line
    ]


def test_the_exchange_is_drawn(drawn):
    text = drawn()
    assert ("net1 pool2", "net2 feed pool2") in edges(text)
    assert ("net2 conv3p", "net1 feed conv3p") in edges(text)
    assert "pool2 and label" in text and "conv3p − γ · gradient" in text
    assert "64×32×2×2" in text  # the shape of both


def test_each_cut_of_a_chain_is_drawn(workdir):
    config = cfg.load("configs/cifar10_three.yaml")
    text = draw(load_graphs(config), config)
    assert ("net1 pool1", "net2 feed pool1") in edges(text)
    assert ("net2 conv2p", "net1 feed conv2p") in edges(text)
    assert ("net2 pool2", "net3 feed pool2") in edges(text)
    assert ("net3 conv3p", "net2 feed conv3p") in edges(text)
    assert re.findall('label=<<B>(net.*?)</B>', text) == [
        "net1, node A", "net2, node B", "net3, node C"
    ]  # fmt: skip
    rows = rows_of(text)
    assert ["single conv2", "net1 conv2", "net1 feed conv2p", "net2 conv2p"] in rows
    assert ["single conv3", "net2 conv3", "net2 feed conv3p", "net3 conv3p"] in rows
    # net2's loss is its own, and not the single net's.
    assert ["single loss", "net3 loss"] in rows


def test_what_passes_over_a_piece_is_drawn_at_both_cuts(workdir, tmp_path):
    text, cuts = CHAINS["shortcut over a piece"]
    request = Request(write_single(tmp_path / "nets", text),
                      [(at.split(), dual.split()) for at, dual in cuts], "cut")  # fmt: skip
    result = split(request)
    write(request, result)
    config = cfg.load(result.yaml)
    drawn = edges(draw(load_graphs(config), config))
    assert ("net1 conv1", "net2 feed conv1") in drawn
    assert ("net2 conv1_split", "net3 feed conv1p") in drawn
    assert ("net3 conv1p_split", "net2 feed conv1p") not in drawn
    assert ("net3 conv1p_split", "net2 feed conv1pp") in drawn
    assert ("net2 conv1_split", "net1 feed conv1p") in drawn


def test_rows_join_what_is_one_layer(drawn):
    text = drawn()
    rows = rows_of(text)
    assert ["single conv3", "net1 conv3", "net1 feed conv3p", "net2 conv3p"] in rows
    assert ["single pool2", "net1 pool2", "net2 feed pool2"] in rows
    # net1's loss is another than the single net's of the same name.
    assert ["single loss", "net2 loss"] in rows


def test_layers_in_place_share_a_box_and_labels_make_no_arrows(drawn):
    text = drawn()
    assert '"single relu1"' not in text and '"net2 relu3"' in text
    assert "conv1</B>" in text and "ReLU" in text
    assert ("single data", "single loss") not in edges(text)
    assert ("single ip2", "single loss") in edges(text)
    assert "silence" not in text


@pytest.mark.parametrize(
    ("target", "words", "count"),
    [("activation", "<conv3p<", 1), ("backprop", "<gradient>", 1), ("frozen", "", 0)],
)
def test_what_comes_down_is_said(drawn, target, words, count):
    text = drawn(f"coupling.target={target}", "coupling.tie=start")
    down = [line for line in text.splitlines() if "constraint=false" in line and "B5442E" in line]
    assert len(down) == count
    assert all(words in line for line in down)


def test_a_run_without_a_single_net(drawn):
    text = drawn("single.solver=''")
    assert "cluster net2" in text and "cluster single" not in text


def test_a_piece_must_be_named(drawn):
    with pytest.raises(ConfigError, match="net2.solver: not given"):
        drawn("net2.solver=''")


def test_names_with_quotes_and_markup_are_taken_apart(drawn, workdir):
    folder = workdir / "odd"
    folder.mkdir()
    solver = folder / "solver.prototxt"
    net = (workdir / "prototxt/digits/single_train_test.prototxt").read_text()
    (folder / "net.prototxt").write_text(net.replace('"conv1"', '"a<b>\\"&c"'))
    solver.write_text(f'net: "{folder}/net.prototxt"')
    text = drawn(f"single.solver={solver}")
    assert "<B>a&lt;b&gt;&quot;&amp;c</B>" in text and r'"single a<b>\"&c"' in text


@pytest.mark.parametrize("target", ["backprop", "frozen"])
def test_a_loss_that_the_rule_does_not_run_is_no_layer_of_the_single_net(drawn, target):
    """It stood at the bottom, beside the loss on the labels."""
    rows = rows_of(drawn(f"coupling.target={target}", "coupling.tie=start"))
    assert ["single loss", "net2 loss"] in rows
