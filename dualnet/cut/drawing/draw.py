"""A drawing of the single net and its pieces side by side, and of what passes between them.

It is written in graphviz's language, with places (placing.py) or without them; graphviz.py makes
the image of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import repeat
from typing import Optional

from dualnet.config import Config
from dualnet.config.chain import number_of
from dualnet.cut.drawing.arrows import Arrow, make_arrows
from dualnet.cut.drawing.columns import Box, Column, make_columns
from dualnet.cut.drawing.places import Path, Places
from dualnet.cut.graph import NetGraph, read_solver, solver_states
from dualnet.cut.solver_nets import net_of
from dualnet.errors import ConfigError

__all__ = ["Drawing", "draw", "load_graphs", "make_drawing"]

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
  newrank=true; nodesep=0.45; ranksep=0.3; splines=true; pad=0.15;
  fontname="Helvetica"; fontcolor="{_INK}"; fontsize=14;
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=12, color="{_INK}",
    fontcolor="{_INK}", penwidth=0.8, margin="0.12,0.06", width=2.6];
  edge [fontname="Helvetica", fontsize=11, color="{_INK}", arrowsize=0.7, penwidth=0.9];
"""


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


def make_drawing(graphs: Mapping[str, NetGraph], config: Config) -> Drawing:
    """What is drawn of a run.

    Args:
        graphs: A piece's name to its net, all of the chain at least.
        config: Where they are cut, and what is sent back.
    """
    columns = make_columns(graphs, config)
    return Drawing(config.name, columns, make_arrows(columns, graphs, config))


def draw(graphs: Mapping[str, NetGraph], config: Config) -> str:
    """The drawing in graphviz's language, which has yet to place it; see `make_drawing`."""
    return make_drawing(graphs, config).text()


@dataclass(frozen=True)
class Drawing:
    """The nets as columns, in the order of the chain, and the arrows between them.

    Attributes:
        name: Of the run.
        columns: By the name of the net.
        arrows: What passes.
    """

    name: str
    columns: Mapping[str, Column]
    arrows: list[Arrow]

    def text(self, places: Optional[Places] = None, has_arrows: bool = True) -> str:
        """The drawing in graphviz's language.

        Args:
            places: Where everything is; None leaves that to graphviz.
            has_arrows: Whether what passes between the nets is drawn.
        """
        lines = [f"digraph {_quoted(self.name)} {{\n{_HEAD}"]
        for name, column in self.columns.items():
            lines += _panel(name, column, places)
        if places is None:
            lines += _rows(self.columns)
        if has_arrows:
            paths = places.paths if places is not None else repeat(None)
            lines += map(_arrow, self.arrows, paths)
        return "\n".join([*lines, "}", ""])


def _title(name: str) -> str:
    """A net and, as a piece, where it runs."""
    if name == "single":
        return "single net"
    number = number_of(name)
    return f"{name}, node {chr(ord('@') + number) if number <= 26 else number}"


def _panel(name: str, column: Column, places: Optional[Places]) -> Iterator[str]:
    """A net: a frame with its boxes."""
    yield f"  subgraph {_quoted('cluster ' + name)} {{"
    yield f'    label=<<B>{escape(_title(name))}</B>>; style="rounded,filled"; margin=14;'
    yield '    color="#C8C8C8"; fillcolor="#FAFAFA"; penwidth=0.8;'
    if places is not None:
        yield f"    {places.frames[name].attributes()};"
    for box in column.boxes.values():
        place = f", {places.boxes[box.key].attributes()}" if places is not None else ""
        yield f"    {_quoted(box.key)} [{_style(box)}{place}];"
    ways = {ends: list(found) for ends, found in places.edges.items()} if places is not None else {}
    for ends in column.edges:
        place = f' [pos="{ways[ends].pop(0)}"]' if places is not None else ""
        yield f"    {_quoted(ends[0])} -> {_quoted(ends[1])}{place};"
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


def _rows(columns: Mapping[str, Column]) -> Iterator[str]:
    """Boxes of one row at one height, the nets from left to right."""
    rows: dict[str, list[str]] = {}
    for column in columns.values():
        # What comes in from the right stands right of the layer that it is compared with.
        for box in sorted(column.boxes.values(), key=lambda box: box.is_feed):
            rows.setdefault(box.row, []).append(box.key)
    for keys in rows.values():
        if len(keys) > 1:
            hidden = " -> ".join(map(_quoted, keys))
            same = "; ".join(map(_quoted, keys))
            yield f"  {{ rank=same; edge [style=invis]; {hidden}; {same}; }}"


def _arrow(arrow: Arrow, path: Optional[Path]) -> str:
    """From the lower piece to the upper one, or back in the other colour.

    Edges all run from left to right, whichever end has the arrow: some of them would make graphviz
    swap the nets.
    """
    colour = _DOWN if arrow.is_down else _UP
    label = escape(arrow.words)
    label += f'<BR/><FONT POINT-SIZE="10">{arrow.shape}</FONT>' if arrow.shape else ""
    back = ", dir=back" if arrow.is_down else ""
    place = f", {path.attributes()}" if path is not None else ""
    return (
        f"  {_quoted(arrow.lower)} -> {_quoted(arrow.upper)} [constraint=false, penwidth=2.2, "
        f'arrowsize=1, color="{colour}", fontcolor="{colour}", label=<{label}>{back}{place}];'
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
