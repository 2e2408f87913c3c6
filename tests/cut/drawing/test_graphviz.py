"""Images by graphviz, and what is said where it is missing or fails."""

from __future__ import annotations

import re
import shutil

import pytest

from dualnet import config as cfg
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.cut.drawing.graphviz import write_drawing
from dualnet.errors import ConfigError, StorageFailed, UsageError

needs_graphviz = pytest.mark.skipif(not shutil.which("dot"), reason="graphviz is not installed")


@pytest.fixture
def drawn(workdir):
    """The drawing of the digits run's nets."""
    config = cfg.load("configs/digits.yaml")
    return draw(load_graphs(config), config)


@pytest.fixture
def write(workdir):
    """Writes that drawing to a file."""

    def make(path, *overrides, **options):
        config = cfg.load("configs/digits.yaml", overrides)
        write_drawing(load_graphs(config), config, path, **options)

    return make


def test_dot_needs_no_graphviz(drawn, write, workdir, monkeypatch):
    monkeypatch.setenv("PATH", str(workdir))
    write("nets.dot")
    assert (workdir / "nets.dot").read_text() == drawn
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
def test_graphviz_takes_names_with_quotes_and_markup(write, workdir):
    net = (workdir / "prototxt/digits/single_train_test.prototxt").read_text()
    (workdir / "net.prototxt").write_text(net.replace('"conv1"', '"a<b>\\"&c"'))
    (workdir / "solver.prototxt").write_text('net: "net.prototxt"')
    write("odd.svg", "single.solver=solver.prototxt")
    assert "a&lt;b&gt;&quot;&amp;c</text>" in (workdir / "odd.svg").read_text()


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
    script = "cat > /dev/null; echo 'syntax  error' >&2; exit 1"
    monkeypatch.setenv("PATH", fake_dot(workdir, script), prepend=":")
    with pytest.raises(ConfigError, match="graphviz's dot ended with 1: syntax error"):
        write("nets.svg")


NET1_FIRST = "echo 'node \"net1 conv1\" 1 1'; echo 'node \"net2 conv4\" 2 1'"
NET2_FIRST = NET1_FIRST.replace('conv1" 1', 'conv1" 9')


@pytest.mark.parametrize("bad", [NET2_FIRST, "exit 1"], ids=["reverse", "failure"])
def test_other_arrangements_are_tried(write, workdir, monkeypatch, bad):
    # Right only where net2 is written before net1.
    script = f"""
case "$(cat | tr -d '\\n')" in
  *"cluster net2"*"cluster net1"*) {NET1_FIRST} ;;
  *) {bad} ;;
esac"""
    monkeypatch.setenv("PATH", fake_dot(workdir, script), prepend=":")
    write("nets.dot")
    text = (workdir / "nets.dot").read_text()
    assert text.index("cluster single") < text.index("cluster net2") < text.index("cluster net1")


def test_where_none_comes_out_right_the_first_is_taken(drawn, write, workdir, monkeypatch):
    monkeypatch.setenv("PATH", fake_dot(workdir, f"cat > /dev/null; {NET2_FIRST}"), prepend=":")
    write("nets.dot")
    assert (workdir / "nets.dot").read_text() == drawn


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
