"""A drawing of the single net and its pieces side by side, and of what passes between them.

It is written in graphviz's language; graphviz.py makes the image of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import NamedTuple, Optional

from dualnet.config import Config
from dualnet.config.chain import number_of
from dualnet.cut.drawing.columns import Box, Column, make_columns, sent_names
from dualnet.cut.graph import NetGraph, read_solver, solver_states
from dualnet.cut.solver_nets import net_of
from dualnet.errors import ConfigError

__all__ = ["Arrangement", "arrangements", "draw", "load_graphs"]

#: Fill by kind of layer: light, so that it prints.
_FILL = {
    "input": "#ECECEC",
    "convolution": "#D6E6F4",
    "pooling": "#FDE8C8",
    "dense": "#E2DAF0",
    "loss": "#F6CFC9",
    "other": "#FFFFFF",
}
_INK, _UP, _DOWN = "#3A3A3A", "#1B6CA8", "#B5442E"
_HEAD = f"""\
  newrank=true; nodesep=0.45; ranksep=0.3; splines=true;
  fontname="Helvetica"; fontcolor="{_INK}"; fontsize=14;
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=12, color="{_INK}",
    fontcolor="{_INK}", penwidth=0.8, margin="0.12,0.06", width=2.6];
  edge [fontname="Helvetica", fontsize=11, color="{_INK}", arrowsize=0.7, penwidth=0.9];
"""
#: What each target sends down, {} being what the lower piece calls it (dualnet/coupling).
_ANSWERS = {"backprop": "gradient", "gradient": "{} − γ · gradient", "updated": "{}, updated"}


def load_graphs(config: Config) -> dict[str, NetGraph]:
    """The nets that a config names, in phase TRAIN; the single net may be missing.

    Raises:
        ConfigError: A piece is missing, or a prototxt cannot be read.
    """
    graphs = {}
    for name in dict.fromkeys(("single", *config.names)):
        source = config.piece(name).solver
        if source:
            solver = read_solver(source)
            found = net_of(solver, source)
            state = solver_states(solver).get("TRAIN")
            graphs[name] = NetGraph(found.net, "TRAIN", found.path, state)
        elif name != "single":
            raise ConfigError(f"config: {name}.solver: not given; name {name}'s solver prototxt")
    return graphs


class Arrangement(NamedTuple):
    """How graphviz is made to place the nets from left to right.

    graphviz may swap the nets' order, and nets with branches make it fail now and then. So there
    are several equivalent inputs; graphviz.py tries them, and uses the first with net1 on the left.

    Attributes:
        order: In which the nets are written.
        chained: Nets whose boxes in one row are tied together by hidden edges.
    """

    order: tuple[str, ...]
    chained: tuple[str, ...]


def arrangements(config: Config) -> list[Arrangement]:
    """Those to try, the best first."""
    names = ("single", *config.names)
    return [
        Arrangement(order, chained)
        for chained in (names, names[:2])
        for order in (names, ("single", *reversed(config.names)))
    ]


def draw(
    graphs: Mapping[str, NetGraph], config: Config, arrangement: Optional[Arrangement] = None
) -> str:
    """The drawing, in graphviz's language.

    Args:
        graphs: A piece's name to its net, all of the chain at least.
        config: Where they are cut, and what is sent back.
        arrangement: The form in which graphviz gets it; default the first one.
    """
    arrangement = arrangement or arrangements(config)[0]
    columns = make_columns(graphs, config)
    lines = [f"digraph {_quoted(config.name)} {{\n{_HEAD}"]
    for name in arrangement.order:
        if name in columns:
            lines += _panel(name, columns[name])
    lines += _rows(columns, arrangement)
    for index in range(len(config.cuts)):
        lines += _exchange(columns, graphs, config, index)
    return "\n".join([*lines, "}", ""])


def _title(name: str) -> str:
    """A net and, as a piece, where it runs."""
    if name == "single":
        return "single net"
    number = number_of(name)
    return f"{name}, node {chr(ord('@') + number) if number <= 26 else number}"


def _panel(name: str, column: Column) -> Iterator[str]:
    """A net: a frame with its boxes."""
    yield f"  subgraph {_quoted('cluster ' + name)} {{"
    yield f'    label=<<B>{escape(_title(name))}</B>>; style="rounded,filled"; margin=14;'
    yield '    color="#C8C8C8"; fillcolor="#FAFAFA"; penwidth=0.8;'
    for box in column.boxes.values():
        yield f"    {_quoted(box.key)} [{_style(box)}];"
    for start, end in column.edges:
        yield f"    {_quoted(start)} -> {_quoted(end)};"
    yield "  }"


def _style(box: Box) -> str:
    """A box's label, fill and frame, as graphviz's attributes."""
    name, description = box.words[0]
    rest = "".join(
        f'<BR/><FONT POINT-SIZE="10">{escape(more)}</FONT>'
        for more in [description, *(words for _, words in box.words[1:])]
    )
    style = ', style="rounded,filled,dashed"' if box.is_feed else ""
    style += ", penwidth=2.2" if box.is_dual else ""
    # graphviz puts the boxes of one group under each other.
    style += "" if box.is_feed else f", group={_quoted(box.key.split()[0])}"
    return f'label=<<B>{escape(name)}</B>{rest}>, fillcolor="{_FILL[box.kind]}"{style}'


def _rows(columns: Mapping[str, Column], arrangement: Arrangement) -> Iterator[str]:
    """Boxes of one row at one height, the nets from left to right."""
    rows: dict[str, dict[str, list[str]]] = {}
    for name, column in columns.items():
        # What comes in from the right stands right of the layer that it is compared with.
        for box in sorted(column.boxes.values(), key=lambda box: box.is_feed):
            rows.setdefault(box.row, {}).setdefault(name, []).append(box.key)
    for row in rows.values():
        keys = [key for name in row for key in row[name]]
        chain = [key for name in row if name in arrangement.chained for key in row[name]]
        hidden = f" edge [style=invis]; {' -> '.join(map(_quoted, chain))};" if chain[1:] else ""
        if len(keys) > 1:
            yield f"  {{ rank=same;{hidden} {'; '.join(map(_quoted, keys))}; }}"


def _exchange(
    columns: Mapping[str, Column], graphs: Mapping[str, NetGraph], config: Config, index: int
) -> Iterator[str]:
    """The arrows across a cut: what goes up in one colour, what comes down in another."""
    lower_name, upper_name = config.names[index : index + 2]
    lower, upper, cut = columns[lower_name], columns[upper_name], config.cuts[index]
    labels = ", ".join(cut.labels)
    for number, blob in enumerate(cut.blobs):
        words = f"{blob} and {labels}" if number == 0 and labels else blob
        end = f"{upper_name} feed {blob}"
        yield _arrow(lower.makers[blob], end, _UP, words, upper.shapes[blob])
    coupling = config.coupling_of(index)
    answer = _ANSWERS.get(coupling.target, "{}")
    if coupling.rule.sends_gradients:
        for blob in cut.blobs:
            yield _arrow(lower.makers[blob], f"{upper_name} feed {blob}", _DOWN, answer, "")
    for sent_name in sent_names(config, index, graphs[lower_name]):
        # Where the upper piece has no blob of that name, it is the name of a dual layer.
        start = upper.makers.get(sent_name) or f"{upper_name} {sent_name}"
        words, shape = answer.format(sent_name), lower.shapes[sent_name]
        yield _arrow(f"{lower_name} feed {sent_name}", start, _DOWN, words, shape)


def _arrow(lower: str, upper: str, colour: str, words: str, shape: str) -> str:
    """From the lower piece to the upper one, or back in the other colour.

    Edges all run from left to right, whichever end has the arrow: some of them would make graphviz
    swap the nets.
    """
    label = escape(words) + (f'<BR/><FONT POINT-SIZE="10">{shape}</FONT>' if shape else "")
    back = ", dir=back" if colour == _DOWN else ""
    return (
        f"  {_quoted(lower)} -> {_quoted(upper)} [constraint=false, penwidth=2.2, arrowsize=1, "
        f'color="{colour}", fontcolor="{colour}", label=<{label}>{back}];'
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
