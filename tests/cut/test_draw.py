"""Drawings: what is in them, that graphviz takes them, and what is said where there is none."""

from __future__ import annotations

import re
import shutil

import pytest

from dualnet import config as cfg
from dualnet.cut.draw import draw, load_graphs, write_drawing
from dualnet.errors import ConfigError, StorageFailed, UsageError

needs_graphviz = pytest.mark.skipif(not shutil.which("dot"), reason="graphviz is not installed")


@pytest.fixture
def drawn(workdir):
    """The drawing of the digits run's nets."""

    def make(*overrides):
        config = cfg.load("configs/digits.yaml", overrides)
        return draw(load_graphs(config), config)

    return make


@pytest.fixture
def write(workdir):
    """Writes that drawing to a file."""

    def make(path, *overrides, **options):
        config = cfg.load("configs/digits.yaml", overrides)
        write_drawing(load_graphs(config), config, path, **options)

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


def test_names_with_quotes_and_markup_are_taken_apart(drawn, write, workdir):
    folder = workdir / "odd"
    folder.mkdir()
    solver = folder / "solver.prototxt"
    net = (workdir / "prototxt/digits/single_train_test.prototxt").read_text()
    (folder / "net.prototxt").write_text(net.replace('"conv1"', '"a<b>\\"&c"'))
    solver.write_text(f'net: "{folder}/net.prototxt"')
    text = drawn(f"single.solver={solver}")
    assert "<B>a&lt;b&gt;&quot;&amp;c</B>" in text and r'"single a<b>\"&c"' in text
    if shutil.which("dot"):
        write("odd.svg", f"single.solver={solver}")


def test_dot_needs_no_graphviz(drawn, write, workdir, monkeypatch):
    monkeypatch.setenv("PATH", str(workdir))
    write("nets.dot")
    assert (workdir / "nets.dot").read_text() == drawn()
    with pytest.raises(ConfigError, match=r"nets.png: .*graphviz, or write -o nets.dot"):
        write("nets.png")
    assert not (workdir / "nets.png").exists()


@needs_graphviz
@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_graphviz_takes_it(write, workdir, form, start):
    write(f"nets.{form}")
    assert (workdir / f"nets.{form}").read_bytes().startswith(start)


@needs_graphviz
def test_boxes_of_a_row_stand_at_one_height_from_left_to_right(write, workdir):
    write("nets.svg")
    svg = (workdir / "nets.svg").read_text()
    places = {}
    for title, x, y in re.findall(
        r'class="node">\s*<title>([^<]*)</title>.*?<text [^>]*x="([-.\d]+)" y="([-.\d]+)"',
        svg, re.DOTALL,
    ):  # fmt: skip
        places[title] = (float(x), float(y))
    row = [places[name] for name in ("single conv3", "net1 conv3", "net1 feed conv3p",
                                     "net2 conv3p")]  # fmt: skip
    assert [x for x, _ in row] == sorted(x for x, _ in row)
    assert len({round(y) for _, y in row}) == 1


def fake_dot(folder, script):
    """A program called dot that stands in for graphviz's."""
    program = folder / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program.parent)


def test_what_graphviz_refuses_is_said(write, workdir, monkeypatch):
    script = "echo 'syntax  error' >&2; exit 1"
    monkeypatch.setenv("PATH", fake_dot(workdir, script), prepend=":")
    with pytest.raises(ConfigError, match="graphviz's dot ended with 1: syntax error"):
        write("nets.svg")


def test_nets_that_come_out_in_reverse_are_written_in_the_other_order(write, workdir, monkeypatch):
    places = "echo 'node \"net1 conv1\" 9 1'; echo 'node \"net2 conv4\" 2 1'"
    monkeypatch.setenv("PATH", fake_dot(workdir, places), prepend=":")
    write("nets.dot")
    text = (workdir / "nets.dot").read_text()
    assert text.index("cluster single") < text.index("cluster net2") < text.index("cluster net1")


def test_mistakes(write, workdir):
    with pytest.raises(UsageError, match="nets.gif: valid formats are png, svg, pdf, dot"):
        write("nets.gif")
    (workdir / "nets.dot").write_text("precious")
    with pytest.raises(UsageError, match="nets.dot exists already: give --force"):
        write("nets.dot")
    write("nets.dot", force=True)
    with pytest.raises(StorageFailed, match="nowhere/nets.dot: cannot write the drawing"):
        write("nowhere/nets.dot")


def test_command(dualnet, workdir):
    done = dualnet("draw", "configs/digits.yaml", "-o", "nets.dot")
    assert done.returncode == 0, done.stderr
    assert "wrote nets.dot" in done.stderr
    assert (workdir / "nets.dot").read_text().startswith('digraph "digits" {')
