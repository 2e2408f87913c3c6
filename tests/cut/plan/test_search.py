"""The dynamic programme against every chain there is."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from dualnet.cut.plan.search import frontier


def drawn(cuts, pieces, seed, missing=0.0):
    """Costs of all pieces, at each place others, small whole numbers so that many are equal."""
    rng = random.Random(seed)
    known = {
        (place, below, above): (float(rng.randint(1, 9)), float(rng.randint(1, 9)))
        for place in range(pieces)
        for below in range(-1, cuts)
        for above in range(below + 1, cuts + 1)
        if rng.random() >= missing
    }
    return lambda *key: known.get(key)


def every(cuts, pieces, cost):
    """(total, peak) to the chains that have them."""
    found = {}
    for chain in combinations(range(cuts), pieces - 1):
        ends = [-1, *chain, cuts]
        costs = [cost(place, *ends[place : place + 2]) for place in range(pieces)]
        if None not in costs:
            key = (sum(total for total, _ in costs), max(peak for _, peak in costs))
            found.setdefault(key, []).append(chain)
    return found


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_frontier_is_that_of_all_chains(pieces, missing):
    for seed in range(30):
        check(drawn(8, pieces, seed, missing), pieces)


def check(cost, pieces):
    chains = every(8, pieces, cost)
    best = {
        (total, peak)
        for total, peak in chains
        if not any(
            other != (total, peak) and other[0] <= total and other[1] <= peak for other in chains
        )
    }
    found = list(frontier(8, pieces, cost))
    # A sweep may meet a chain of the same total and a higher peak first.
    assert best <= {(chain.total, chain.peak) for chain in found}
    assert all(chain.cuts in chains[chain.total, chain.peak] for chain in found)
    assert [chain.peak for chain in found] == sorted({c.peak for c in found}, reverse=True)


def test_fewer_cuts_than_a_chain_needs_give_none():
    assert list(frontier(2, 4, lambda *key: (1.0, 1.0))) == []


def test_a_hundred_cuts_are_soon_searched():
    rng = random.Random(1)
    lengths = [rng.random() for _ in range(101)]
    cost = lambda place, below, above: (1.0, sum(lengths[below + 1 : above + 1]))  # noqa: E731
    last = list(frontier(100, 8, cost))[-1]
    assert last.peak < 1.2 * sum(lengths) / 8
