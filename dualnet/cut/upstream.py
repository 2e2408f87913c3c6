"""Which layers of a net lead to a blob.

Layers are given by their place among those of a phase: several may have one name, or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualnet.config import Cut
from dualnet.cut.graph import NetGraph, batch_size_of

__all__ = [
    "FEEDS",
    "beyond_cut",
    "data_layers",
    "last_maker",
    "upstream_layers",
    "may_change_size",
    "layers_without_inputs",
]

#: Layers that pycaffe programs can fill; MemoryData only as layer 0.
FEEDS = ("MemoryData", "Input")


def upstream_layers(graph: NetGraph, blobs: Iterable[str]) -> list[int]:
    """The layers that make the blobs, and those that these depend on, in the net's order."""
    wanted, found = set(blobs), []
    for place in reversed(range(len(graph.layers))):
        layer = graph.layers[place]
        if wanted & set(layer.top):
            found.append(place)
            wanted.update(layer.bottom)
    return found[::-1]


def layers_without_inputs(graph: NetGraph) -> list[int]:
    """Layers without bottoms (data, Input, DummyData).

    Running a data layer again reads the next batch.
    """
    return [place for place, layer in enumerate(graph.layers) if not layer.bottom]


def data_layers(graph: NetGraph) -> list[int]:
    """Those of them that read batches by themselves: all but the ones that a program fills."""
    return [
        place for place in layers_without_inputs(graph) if graph.layers[place].type not in FEEDS
    ]


def beyond_cut(graph: NetGraph, cut: Cut) -> list[int]:
    """A piece's own layers after its cut blobs: those of an auxiliary loss, mostly none.

    Neither the dual layers are among them nor the losses on what comes down, which only serve the
    exchange.

    Args:
        graph: The piece's net.
        cut: The cut above it.
    """
    last, names, from_above = last_maker(graph, cut.blobs), set(cut.dual), set(cut.pairs.values())
    found = []
    for place, layer in enumerate(graph.layers):
        if layer.name in names or from_above.intersection((*layer.bottom, *layer.top)):
            from_above.update(layer.top)
        elif place > last and layer.bottom:
            found.append(place)
    return found


def may_change_size(graph: NetGraph, blobs: Iterable[str]) -> bool:
    """Whether blobs may have other sizes from one iteration to the next.

    A Python layer gives what it likes; Data and ImageData give whole images one by one, as they
    are, unless they crop or resize them.
    """
    upstream = [graph.layers[place] for place in upstream_layers(graph, blobs)]
    return any(layer.type == "Python" or _gives_whole_images(layer) for layer in upstream)


def _gives_whole_images(layer: Any) -> bool:
    if layer.type not in ("Data", "ImageData") or layer.transform_param.crop_size:
        return False
    return batch_size_of(layer) == 1 and not layer.image_data_param.new_height


def last_maker(graph: NetGraph, blobs: Iterable[str]) -> int:
    """The last layer that works on any of the blobs, in place or not."""
    return max(graph.place(graph.producers[blob][-1]) for blob in blobs)
