"""A drawing of the single net and its halves side by side, and of what passes between them.

It is written in graphviz's language; graphviz.py makes the image of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

from dualnet.config import Config
from dualnet.cut.drawing.wording import describe, kind_of
from dualnet.cut.graph import NetGraph, read_solver, solver_states
from dualnet.cut.solver_nets import net_of
from dualnet.cut.upstream import FEEDS
from dualnet.errors import ConfigError

__all__ = ["ARRANGEMENTS", "Arrangement", "draw", "load_graphs"]

_ROLES = ("single", "net1", "net2")
_TITLES = {"single": "single net", "net1": "net1, node A", "net2": "net2, node B"}

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
#: What each target sends down, {} being what net1 calls it (dualnet/coupling).
_ANSWERS = {"backprop": "gradient", "gradient": "{} − γ · gradient", "updated": "{}, updated"}


def load_graphs(config: Config) -> dict[str, NetGraph]:
    """The nets that a config names, in phase TRAIN; the single net may be missing.

    Raises:
        ConfigError: A half is missing, or a prototxt cannot be read.
    """
    graphs = {}
    for role in _ROLES:
        source = config.piece(role).solver
        if source:
            solver = read_solver(source)
            found = net_of(solver, source)
            state = solver_states(solver).get("TRAIN")
            graphs[role] = NetGraph(found.net, "TRAIN", found.path, state)
        elif role != "single":
            raise ConfigError(f"config: {role}.solver: not given; name {role}'s solver prototxt")
    return graphs


class Arrangement(NamedTuple):
    """How graphviz is made to place the nets from left to right.

    It places frames by what pulls them together, and in the order in which they are written or in
    reverse, whichever its last round gave; nets with branches make it fail now and then. So there
    are several ways to say the same; graphviz.py takes the first that comes out right.
    """

    #: In which the nets are written.
    order: tuple[str, ...] = _ROLES
    #: Nets whose boxes in one row are tied together by hidden edges.
    chained: tuple[str, ...] = _ROLES


ARRANGEMENTS = [
    Arrangement(order, chained)
    for chained in (_ROLES, ("single", "net1"))
    for order in (_ROLES, ("single", "net2", "net1"))
]


def draw(
    graphs: Mapping[str, NetGraph], config: Config, arrangement: Arrangement = ARRANGEMENTS[0]
) -> str:
    """The drawing, in graphviz's language.

    What is one layer in the single net stands in one row. Layers that work in place are written
    into the box of the layer whose output they change; labels are not drawn but where they cross.

    Args:
        graphs: Role to net, `net1` and `net2` at least.
        config: Where they are cut, and what is sent back.
        arrangement: How it is told to graphviz.
    """
    names = _names(graphs)
    crossing = _crossing(config, graphs["net1"], names["net1"])
    columns = {
        role: _column(role, graph, names[role], config, crossing) for role, graph in graphs.items()
    }
    lines = [f"digraph {_quoted(config.name)} {{\n{_HEAD}"]
    for role in arrangement.order:
        if role in columns:
            lines += _panel(role, columns[role])
    lines += _rows(columns, arrangement)
    lines += _exchange(columns["net1"], columns["net2"], config, crossing)
    return "\n".join([*lines, "}", ""])


class _Crossing(NamedTuple):
    """What goes up and what comes down, each with the row of net1's layer that it belongs to."""

    up: dict[str, str]
    down: dict[str, str]
    #: Wire: net1's blob that it is compared with.
    compared: dict[str, str]


def _crossing(config: Config, net1: NetGraph, names: Sequence[str]) -> _Crossing:
    cut = config.cut
    compared = {wire: blob for blob, wire in cut.compared.items()}
    if config.coupling.target in ("backprop", "frozen"):
        compared = {}
    elif not compared:
        last_1, last_2 = list(cut.dual.items())[-1]
        compared = {last_2: str(net1.layer(last_1, "cut.dual").top[0])}
    return _Crossing(
        {blob: names[_maker(net1, blob, "cut.blobs")] for blob in cut.blobs},
        {wire: names[_maker(net1, blob, "cut.compared")] for wire, blob in compared.items()},
        compared,
    )


def _maker(net1: NetGraph, blob: str, key: str) -> int:
    """The place of the layer that makes a blob."""
    return net1.place(net1.require_blob(blob, key))


@dataclass
class _Box:
    """One or more layers in one frame."""

    key: str
    #: Boxes of different nets with the same row are drawn at the same height.
    row: str
    #: (name, description) of each layer.
    words: list[tuple[str, str]]
    fill: str = _FILL["other"]
    #: Whether it stands for what the other half sends.
    is_feed: bool = False
    #: Whether it is in both halves.
    is_dual: bool = False


@dataclass
class _Column:
    """A net as boxes."""

    boxes: dict[str, _Box] = field(default_factory=dict)
    #: (from, to), keys of boxes.
    edges: list[tuple[str, str]] = field(default_factory=list)
    #: Blob to the box that makes it.
    makers: dict[str, str] = field(default_factory=dict)
    #: Blob to its shape in words, of those that the other half sends.
    shapes: dict[str, str] = field(default_factory=dict)


def _column(
    role: str, graph: NetGraph, names: Sequence[str], config: Config, crossing: _Crossing
) -> _Column:
    dual = config.cut.dual
    originals = {copy: name for name, copy in dual.items()} if role == "net2" else {}
    duals = {"single": (), "net1": dual, "net2": originals}[role]
    fed = {"single": {}, "net1": crossing.down, "net2": crossing.up}[role]
    foreign = set(fed)
    column = _Column()
    for layer, name in zip(graph.layers, names):
        tops = [blob for blob in layer.top if blob in fed]
        if layer.type == "Silence":
            continue
        if layer.type in FEEDS and tops:
            for blob in tops:
                words = [(blob, "from net1" if role == "net2" else "from net2")]
                _add(column, _Box(f"{role} feed {blob}", fed[blob], words, is_feed=True), [blob])
                column.shapes[blob] = _fed_shape(layer, blob)
        elif len(layer.top) == 1 and list(layer.top) == list(layer.bottom):
            box = column.boxes[column.makers[layer.top[0]]]
            box.words.append((name, describe(layer)))
        else:
            # net1's losses are called like others of the single net.
            is_own = role == "net1" and bool(foreign & set(layer.bottom))
            row = f"net1 {name}" if is_own else originals.get(name, name)
            if is_own:
                foreign |= set(layer.top)
            words = [(name, describe(layer))]
            box = _Box(f"{role} {name}", row, words, _FILL[kind_of(layer)])
            box.is_dual = name in duals
            column.edges += [
                (column.makers[blob], box.key)
                for blob in layer.bottom
                if blob not in config.cut.labels and blob in column.makers
            ]
            _add(column, box, layer.top)
    return column


def _names(graphs: Mapping[str, NetGraph]) -> dict[str, list[str]]:
    """What the layers of each net are called in the drawing, in order and without repetition.

    Their names; where layers of any of the nets share one, or have none, the name of their top.
    """
    given = {role: [str(layer.name) for layer in graph.layers] for role, graph in graphs.items()}
    shared = {"", *(name for all_ in given.values() for name in all_ if all_.count(name) > 1)}
    found = {}
    for role, graph in graphs.items():
        taken = set(given[role]) - shared
        found[role] = list(given[role])
        for place, layer in enumerate(graph.layers):
            if layer.name in shared:
                name = str((*layer.top, layer.type)[0])
                while name in taken:
                    name += "_"
                taken.add(name)
                found[role][place] = name
    return found


def _add(column: _Column, box: _Box, blobs: Iterable[str]) -> None:
    column.boxes[box.key] = box
    column.makers.update(dict.fromkeys(blobs, box.key))


def _fed_shape(layer: Any, blob: str) -> str:
    """As 256×32×8×8; nothing where a prototxt does not say it."""
    if layer.type == "MemoryData":
        setup = layer.memory_data_param
        return "×".join(map(str, (setup.batch_size, setup.channels, setup.height, setup.width)))
    shapes = list(layer.input_param.shape)
    if not shapes:
        return ""
    position = list(layer.top).index(blob) if len(shapes) > 1 else 0
    return "×".join(map(str, shapes[position].dim))


def _panel(role: str, column: _Column) -> Iterator[str]:
    """A net: a frame with its boxes."""
    yield f"  subgraph {_quoted('cluster ' + role)} {{"
    yield f'    label=<<B>{escape(_TITLES[role])}</B>>; style="rounded,filled"; margin=14;'
    yield '    color="#C8C8C8"; fillcolor="#FAFAFA"; penwidth=0.8;'
    for box in column.boxes.values():
        yield f"    {_quoted(box.key)} [{_look(box)}];"
    for start, end in column.edges:
        yield f"    {_quoted(start)} -> {_quoted(end)};"
    yield "  }"


def _look(box: _Box) -> str:
    name, description = box.words[0]
    rest = "".join(
        f'<BR/><FONT POINT-SIZE="10">{escape(more)}</FONT>'
        for more in [description, *(words for _, words in box.words[1:])]
    )
    style = ', style="rounded,filled,dashed"' if box.is_feed else ""
    style += ", penwidth=2.2" if box.is_dual else ""
    # Boxes of one group are set below each other.
    style += "" if box.is_feed else f", group={_quoted(box.key.split()[0])}"
    return f'label=<<B>{escape(name)}</B>{rest}>, fillcolor="{box.fill}"{style}'


def _rows(columns: Mapping[str, _Column], arrangement: Arrangement) -> Iterator[str]:
    """Boxes of one row at one height, the nets from left to right."""
    rows: dict[str, dict[str, list[str]]] = {}
    for role, column in columns.items():
        # What comes in from the right stands right of the layer that it is compared with.
        for box in sorted(column.boxes.values(), key=lambda box: box.is_feed):
            rows.setdefault(box.row, {}).setdefault(role, []).append(box.key)
    for row in rows.values():
        keys = [key for role in row for key in row[role]]
        chain = [key for role in row if role in arrangement.chained for key in row[role]]
        hidden = f" edge [style=invis]; {' -> '.join(map(_quoted, chain))};" if chain[1:] else ""
        if len(keys) > 1:
            yield f"  {{ rank=same;{hidden} {'; '.join(map(_quoted, keys))}; }}"


def _exchange(net1: _Column, net2: _Column, config: Config, crossing: _Crossing) -> Iterator[str]:
    """The arrows between the halves: what goes up in one colour, what comes down in another."""
    labels = ", ".join(config.cut.labels)
    for number, blob in enumerate(crossing.up):
        name = f"{blob} and {labels}" if number == 0 and labels else blob
        yield _arrow(net1.makers[blob], f"net2 feed {blob}", _UP, name, net2.shapes[blob])
    answer = _ANSWERS.get(config.coupling.target, "{}")
    if config.coupling.target == "backprop":
        for blob in crossing.up:
            yield _arrow(net1.makers[blob], f"net2 feed {blob}", _DOWN, answer, "")
    for wire in crossing.down:
        start = net2.makers.get(wire) or _made_by(net2, wire)
        yield _arrow(f"net1 feed {wire}", start, _DOWN, answer.format(wire), net1.shapes[wire])


def _made_by(net2: _Column, layer: str) -> str:
    """The box of a layer of net2, by whose name net1 may call what it makes."""
    return f"net2 {layer}"


def _arrow(net1: str, net2: str, colour: str, words: str, shape: str) -> str:
    """From net1 to net2, or back in the other colour.

    Edges all run from left to right, whichever end has the arrow: graphviz would turn the order of
    the nets round for some of them.
    """
    label = escape(words) + (f'<BR/><FONT POINT-SIZE="10">{shape}</FONT>' if shape else "")
    back = ", dir=back" if colour == _DOWN else ""
    return (
        f"  {_quoted(net1)} -> {_quoted(net2)} [constraint=false, penwidth=2.2, arrowsize=1, "
        f'color="{colour}", fontcolor="{colour}", label=<{label}>{back}];'
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
