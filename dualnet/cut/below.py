"""Which layers of a net lead to a blob."""

from __future__ import annotations

from collections.abc import Iterable

from dualnet.cut.graph import NetGraph

__all__ = ["FEEDS", "data_layers", "last_maker", "layers_below", "sources"]

#: Layers that pycaffe programs can fill; MemoryData only as layer 0.
FEEDS = ("MemoryData", "Input")


def layers_below(graph: NetGraph, blobs: Iterable[str]) -> list[str]:
    """The layers that make the blobs, and those that these depend on, in the net's order."""
    wanted, found = set(blobs), []
    for layer in reversed(graph.layers):
        if wanted & set(layer.top):
            found.append(layer.name)
            wanted.update(layer.bottom)
    return found[::-1]


def sources(graph: NetGraph) -> list[str]:
    """The layers that read no blob: running one again would fetch the next batch."""
    return [layer.name for layer in graph.layers if not layer.bottom]


def data_layers(graph: NetGraph) -> list[str]:
    """The sources that fetch batches by themselves: all but those that a program fills."""
    return [layer.name for layer in graph.layers if not layer.bottom and layer.type not in FEEDS]


def last_maker(graph: NetGraph, blobs: Iterable[str]) -> str:
    """The last layer that works on any of the blobs, in place or not."""
    return max((graph.producers[blob][-1].name for blob in blobs), key=graph.index)
