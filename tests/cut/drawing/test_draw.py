"""Drawings: what is in them."""

from __future__ import annotations

import re

import pytest

from dualnet import config as cfg
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.errors import ConfigError


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


def test_the_exchange_is_drawn(drawn):
    text = drawn()
    assert ("net1 pool2", "net2 feed pool2") in edges(text)
    assert ("net2 conv3p", "net1 feed conv3p") in edges(text)
    assert "pool2 and label" in text and "conv3p − γ · gradient" in text
    assert "64×32×2×2" in text  # the shape of both


def test_rows_join_what_is_one_layer(drawn):
    text = drawn()
    rows = [
        list(dict.fromkeys(re.findall('"([^"]*)"', line)))
        for line in text.splitlines()
        if "rank=same" in line
    ]
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


def test_a_half_must_be_named(drawn):
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
