"""A chain's nets as columns of boxes: what is one layer of the single net stands in one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Optional

from dualnet.config import Config, Cut
from dualnet.cut.drawing.wording import describe, kind_of
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import FEEDS

__all__ = ["Box", "Column", "make_columns", "sent_names"]


@dataclass
class Box:
    """One or more layers in one frame.

    Attributes:
        key: Its name in the drawing.
        row: Boxes of different nets with the same row are drawn at the same height.
        words: (name, description) of each layer.
        kind: Of the first layer, see `kind_of`.
        is_feed: Whether it stands for what a neighbour sends.
        is_dual: Whether it is in two pieces.
    """

    key: str
    row: str
    words: list[tuple[str, str]]
    kind: str = "other"
    is_feed: bool = False
    is_dual: bool = False


@dataclass
class Column:
    """A net as boxes.

    Attributes:
        boxes: By key.
        edges: (from, to), keys of boxes.
        makers: Blob to the box that makes it.
        shapes: Blob to its shape in words, of those that a neighbour sends.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    makers: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)

    def add(self, box: Box, blobs: Iterable[str]) -> None:
        """Add a box under the others; it makes some blobs."""
        self.boxes[box.key] = box
        self.makers.update(dict.fromkeys(blobs, box.key))


def sent_names(config: Config, index: int, lower: NetGraph) -> dict[str, str]:
    """What comes down through a cut, by name, to the lower piece's blob that is compared with it.

    Args:
        config: The run.
        index: The cut's place, from 0.
        lower: The piece below it.
    """
    cut = config.cuts[index]
    if not config.coupling_of(index).rule.compares:
        return {}
    if cut.compared:
        return {sent_name: blob for blob, sent_name in cut.compared.items()}
    original, copy = list(cut.dual.items())[-1]
    return {copy: str(lower.layer(original, "cut.dual").top[0])}


def make_columns(graphs: Mapping[str, NetGraph], config: Config) -> dict[str, Column]:
    """Each net as a column, in the order of `graphs`.

    Layers that work in place are written into the box of the layer whose output they change; labels
    are not drawn but where they cross.
    """
    names = _names(graphs)
    columns: dict[str, Column] = {}
    if "single" in graphs:
        single = _Net("single", graphs["single"], names["single"])
        columns["single"] = _column(single, {label for cut in config.cuts for label in cut.labels})
    originals: dict[str, str] = {}
    crossing: dict[str, str] = {}
    for index, piece in enumerate(config.names):
        below = config.cuts[index - 1] if index else None
        above = config.cuts[index] if index < len(config.cuts) else None
        if below is not None:
            originals.update((copy, originals.get(name, name)) for name, copy in below.dual.items())
        net = _Net(piece, graphs[piece], names[piece], originals, crossing)
        net.label_below(below, config.names[index - 1])
        if above is not None:
            compared = sent_names(config, index, graphs[piece])
            net.label_above(above, config.names[index + 1], compared)
            crossing = {blob: net.row_of(blob, "cut.blobs") for blob in above.blobs}
        labels = {label for cut in (below, above) if cut is not None for label in cut.labels}
        columns[piece] = _column(net, labels)
    return columns


class _Net:
    """A net, and what its layers and blobs are in the drawing.

    Args:
        name: The piece's.
        graph: Its layers.
        names: What they are called, see `_names`.
        originals: Dual copies to what the single net calls them.
        crossing: What comes up to it, to its row.
    """

    def __init__(
        self,
        name: str,
        graph: NetGraph,
        names: Sequence[str],
        originals: Mapping[str, str] = MappingProxyType({}),
        crossing: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name, self.graph, self.names = name, graph, names
        self.originals, self.crossing = dict(originals), dict(crossing)
        self.dual: set[str] = set()
        #: What neighbours send, to its row and the neighbour.
        self.fed: dict[str, tuple[str, str]] = {}
        #: What comes from above, and what depends on it.
        self.foreign: set[str] = set()

    def label_below(self, cut: Optional[Cut], piece: str) -> None:
        """Take note of the cut below, and of the piece there."""
        if cut is not None:
            self.dual.update(cut.dual.values())
            self.fed.update((blob, (row, piece)) for blob, row in self.crossing.items())

    def label_above(self, cut: Cut, piece: str, compared: Mapping[str, str]) -> None:
        """Take note of the cut above, and of the piece there."""
        self.dual.update(cut.dual)
        # Inputs for what is compared; with rules that compare nothing they stay unfed.
        self.foreign.update(cut.pairs.values())
        for sent_name, blob in compared.items():
            self.fed[sent_name] = (self.row_of(blob, "cut.compared"), piece)
            self.foreign.add(sent_name)

    def row_of(self, blob: str, key: str) -> str:
        """The row of the box that makes a blob."""
        maker = self.graph.require_blob(blob, key)
        if blob in self.crossing:
            return self.crossing[blob]
        name = self.names[self.graph.place(maker)]
        return self.originals.get(name, name)


def _column(net: _Net, labels: set[str]) -> Column:
    column = Column()
    for layer, name in zip(net.graph.layers, net.names):
        tops = [blob for blob in layer.top if blob in net.fed]
        if layer.type == "Silence":
            continue
        if layer.type in FEEDS and tops:
            for blob in tops:
                row, neighbour = net.fed[blob]
                words = [(blob, f"from {neighbour}")]
                column.add(Box(f"{net.name} feed {blob}", row, words, is_feed=True), [blob])
                column.shapes[blob] = _fed_shape(layer, blob)
        elif len(layer.top) == 1 and list(layer.top) == list(layer.bottom):
            box = column.boxes[column.makers[layer.top[0]]]
            box.words.append((name, describe(layer)))
        else:
            # Losses on what comes down are called like others of the single net.
            is_own = bool(net.foreign & set(layer.bottom))
            row = f"{net.name} {name}" if is_own else net.originals.get(name, name)
            if is_own:
                net.foreign |= set(layer.top)
            box = Box(f"{net.name} {name}", row, [(name, describe(layer))], kind_of(layer))
            box.is_dual = name in net.dual
            column.edges += [
                (column.makers[blob], box.key)
                for blob in layer.bottom
                if blob not in labels and blob in column.makers
            ]
            column.add(box, layer.top)
    return column


def _names(graphs: Mapping[str, NetGraph]) -> dict[str, list[str]]:
    """What the layers of each net are called in the drawing, in order and without repetition.

    Their names; where layers of any of the nets share one, or have none, the name of their top.
    """
    given = {piece: [str(layer.name) for layer in graph.layers] for piece, graph in graphs.items()}
    shared = {"", *(name for all_ in given.values() for name in all_ if all_.count(name) > 1)}
    found = {}
    for piece, graph in graphs.items():
        taken = set(given[piece]) - shared
        found[piece] = list(given[piece])
        for place, layer in enumerate(graph.layers):
            if layer.name in shared:
                name = str((*layer.top, layer.type)[0])
                while name in taken:
                    name += "_"
                taken.add(name)
                found[piece][place] = name
    return found


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
