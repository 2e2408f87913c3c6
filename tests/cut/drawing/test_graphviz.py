"""Images by graphviz, and what is said where it is missing or fails."""

from __future__ import annotations

import re
import shutil

import pytest

from dualnet import config as cfg
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.cut.drawing.graphviz import write_drawing
from dualnet.cut.split import Request, split
from dualnet.cut.split import write as write_pieces
from dualnet.errors import ConfigError, StorageFailed, UsageError
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS

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


@needs_graphviz
@pytest.mark.parametrize("name", sorted(CHAINS))
def test_nets_stand_in_their_order_and_words_in_the_gaps(workdir, tmp_path, name):
    """graphviz set net2 left of net1, and words where other arrows pass."""
    text, cuts = CHAINS[name]
    request = Request(write_single(tmp_path / "nets", text),
                      [(at.split(), dual.split()) for at, dual in cuts], "cut")  # fmt: skip
    result = split(request)
    write_pieces(request, result)
    config = cfg.load(result.yaml)
    write_drawing(load_graphs(config), config, str(tmp_path / "nets.svg"))
    svg = (tmp_path / "nets.svg").read_text()
    frames = frames_of(svg)
    assert list(frames) == ["single", *config.names]
    spans = list(frames.values())
    assert all(left[1] < right[0] for left, right in zip(spans, spans[1:]))
    words = words_of(svg)
    assert words
    for left, right in words:
        assert any(one[1] < left and right < two[0] for one, two in zip(spans, spans[1:]))


def frames_of(svg):
    """Each net to where its frame begins and ends, from left to right."""
    found = {}
    pattern = r'class="cluster">\s*<title>cluster (\S+)</title>\s*<path[^>]* d="([^"]*)"'
    for title, path in re.findall(pattern, svg):
        places = [float(x) for x in re.findall(r"([-.\d]+),[-.\d]+", path)]
        found[title] = (min(places), max(places))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def words_of(svg):
    """Where the words of the arrows between the nets begin and end."""
    return [
        (float(x), float(x) + 6.2 * len(text))
        for x, text in re.findall(
            r'<text text-anchor="start" x="([-.\d]+)"[^>]*fill="#(?:1b6ca8|b5442e)"[^>]*>([^<]*)<',
            svg,
        )
    ]


def test_where_graphviz_cannot_place_the_boxes_the_drawing_is_left_to_it(
    drawn, write, workdir, monkeypatch
):
    script = "cat > /dev/null; case $1 in -Tjson0) exit 1;; *) echo '<svg>';; esac"
    monkeypatch.setenv("PATH", fake_dot(workdir, script), prepend=":")
    write("nets.dot")
    assert (workdir / "nets.dot").read_text() == drawn
    write("nets.svg")
    assert (workdir / "nets.svg").read_text() == "<svg>\n"


def test_mistakes(write, workdir):
    with pytest.raises(UsageError, match="nets.gif: valid formats are png, svg, pdf, dot"):
        write("nets.gif")
    (workdir / "nets.dot").write_text("precious")
    with pytest.raises(UsageError, match="nets.dot exists already: give --force"):
        write("nets.dot")
    write("nets.dot", force=True)
    write("made/nets.dot")
    with pytest.raises(StorageFailed, match="nets.dot/in/nets.dot: cannot write the drawing"):
        write("nets.dot/in/nets.dot")


def test_command(dualnet, workdir):
    done = dualnet("draw", "configs/digits.yaml", "-o", "nets.dot")
    assert done.returncode == 0, done.stderr
    assert "wrote nets.dot" in done.stderr
    assert 'digraph "digits" {\n' in (workdir / "nets.dot").read_text()
