"""Which layers of a net lead to a blob."""

from __future__ import annotations

from collections.abc import Iterable

from dualnet.cut.graph import NetGraph

__all__ = ["layers_below", "sources"]


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
