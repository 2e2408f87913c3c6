"""Which layers of a net lead to a blob.

Layers are given by their place among those of a phase: several may have one name, or none.
"""

from __future__ import annotations

from collections.abc import Iterable

from dualnet.cut.graph import NetGraph

__all__ = ["FEEDS", "data_layers", "last_maker", "layers_below", "sources"]

#: Layers that pycaffe programs can fill; MemoryData only as layer 0.
FEEDS = ("MemoryData", "Input")


def layers_below(graph: NetGraph, blobs: Iterable[str]) -> list[int]:
    """The layers that make the blobs, and those that these depend on, in the net's order."""
    wanted, found = set(blobs), []
    for place in reversed(range(len(graph.layers))):
        layer = graph.layers[place]
        if wanted & set(layer.top):
            found.append(place)
            wanted.update(layer.bottom)
    return found[::-1]


def sources(graph: NetGraph) -> list[int]:
    """The layers that read no blob: running one again would fetch the next batch."""
    return [place for place, layer in enumerate(graph.layers) if not layer.bottom]


def data_layers(graph: NetGraph) -> list[int]:
    """The sources that fetch batches by themselves: all but those that a program fills."""
    return [place for place in sources(graph) if graph.layers[place].type not in FEEDS]


def last_maker(graph: NetGraph, blobs: Iterable[str]) -> int:
    """The last layer that works on any of the blobs, in place or not."""
    return max(graph.place(graph.producers[blob][-1]) for blob in blobs)
