"""Dynamic programming over cuts: which chains of K pieces can be the fastest or the smallest.

The time of an iteration depends on two numbers of a chain: the sum over its pieces and links (a
batch's way up and down: all of an alternating iteration, the filling and draining of a pipelined
one) and the peak (the load of its slowest piece or link: all of an overlapped iteration, each
further micro-batch of a pipelined one). Whatever weighs the two, the best chain is on their
frontier: no other has less of the one and no more of the other. With memory as the peak, the last
chain of the frontier needs least.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Callable, NamedTuple, Optional

__all__ = ["Found", "frontier"]


class Found(NamedTuple):
    """A chain.

    Attributes:
        cuts: Numbers of its cuts, ascending.
        total: Sum over its pieces.
        peak: The largest of its pieces.
    """

    cuts: tuple[int, ...]
    total: float
    peak: float


def frontier(
    cuts: int, pieces: int, cost: Callable[[int, int, int], Optional[tuple[float, float]]]
) -> Iterator[Found]:
    """The chains of which no other has a lower peak and no larger total, from the least total up.

    A sweep visits each pair of cuts once for the piece at each place, and finds the least total
    whose peak is lower than that of the sweep before.

    Args:
        cuts: How many cuts there are, 0 … cuts - 1 in order.
        pieces: Of a chain.
        cost: (total, peak) of the piece at place 0 … pieces - 1 between two cuts, -1 and `cuts`
            being the ends of the net; None where there is no such piece.
    """
    table: list[list[tuple[int, int, float, float]]] = []
    for place in range(pieces):
        belows = range(place - 1, cuts) if place else (-1,)
        row = []
        for below in belows:
            for above in range(below + 1, cuts) if place < pieces - 1 else (cuts,):
                found = cost(place, below, above)
                if found is not None:
                    row.append((below, above, *found))
        table.append(row)
    limit = inf
    while True:
        chain = _least(table, cuts, limit)
        if chain is None:
            return
        yield chain
        limit = chain.peak


def _least(
    table: list[list[tuple[int, int, float, float]]], cuts: int, limit: float
) -> Optional[Found]:
    """The chain of least total whose peak is below a limit."""
    best: dict[int, Found] = {-1: Found((), 0.0, -inf)}
    for row in table:
        reached: dict[int, Found] = {}
        for below, above, total, peak in row:
            start = best.get(below)
            if start is None or peak >= limit:
                continue
            total += start.total
            if above not in reached or total < reached[above].total:
                reached[above] = Found((*start.cuts, above), total, max(start.peak, peak))
        best = reached
    found = best.get(cuts)
    return found and found._replace(cuts=found.cuts[:-1])
