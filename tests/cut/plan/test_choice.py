"""Whether a chain is better than the single net, and why."""

from __future__ import annotations

import pytest

from dualnet.cut.plan.chains import Chain, Outcome
from dualnet.cut.plan.choice import SingleNet, choose
from dualnet.cut.plan.schedule_time import Iteration, alternating

MIB = 1 << 20
SINGLE = SingleNet(0.1, 100 * MIB)


def chain(seconds, mib):
    iteration = Iteration(seconds, 0.0, [])
    outcome = Outcome(alternating(2), [], [], [mib * MIB, MIB], [seconds, 0.0], None, iteration)
    return Chain((), dict.fromkeys(("alternating", "overlapped"), outcome))


FAST, SMALL = chain(0.08, 100), chain(0.2, 60)


def test_a_faster_chain_helps():
    choice = choose("overlapped", 3, FAST, SMALL, SINGLE)
    assert choice.chain is FAST and choice.helps
    assert choice.reason == (
        "the fastest chain: 80.0 ms an iteration, 1.25 times the speed of the single net; its "
        "largest piece needs 100 MiB, the single net 100"
    )


def test_alternating_pieces_are_chosen_by_memory():
    """Pieces that work one at a time are fastest where next to nothing is cut off."""
    choice = choose("alternating", 2, FAST, SMALL, SINGLE)
    assert choice.chain is SMALL and choice.helps
    assert "needs 60.0 MiB, 40% less than the single net" in choice.reason
    assert "takes 200 ms, the least of chains with similar memory" in choice.reason


@pytest.mark.parametrize("schedule", ["alternating", "overlapped"])
def test_no_cut_may_help(schedule):
    slow = chain(0.099, 95)
    choice = choose(schedule, 2, slow, slow, SINGLE)
    assert choice.chain is slow and not choice.helps
    assert choice.reason == (
        "no cut helps: the largest piece needs 95.0 MiB or more, the single net 100, and an "
        "iteration takes 99.0 ms or more, the single net's 100"
    )


def test_with_a_limit_the_fastest_that_fits_is_taken():
    slow = chain(0.3, 70)
    choice = choose("alternating", 2, slow, SMALL, SINGLE, 80 * MIB)
    assert choice.chain is slow and choice.helps
    assert choice.reason.startswith(
        "the single net needs 100 MiB, and 80.0 are there; this chain is"
    )
    none = choose("alternating", 2, None, SMALL, SINGLE, 50 * MIB)
    assert none.chain is None and not none.helps
    assert "no chain of 2 pieces fits into 50.0 MiB: the largest piece needs 60.0" in none.reason
    assert "take more pieces, or smaller batches" in none.reason


def test_memory_that_is_there_need_not_be_saved():
    choice = choose("alternating", 2, FAST, SMALL, SINGLE, 200 * MIB)
    assert not choice.helps and "no cut helps: the single net fits into 200 MiB" in choice.reason
    assert choose("overlapped", 2, FAST, SMALL, SINGLE, 200 * MIB).helps


def test_a_net_may_have_too_few_cuts():
    assert choose("alternating", 2, None, None, SINGLE).reason == "the net cannot be cut in two"
    choice = choose("overlapped", 5, None, None, SINGLE)
    assert choice.reason == "the net cannot be cut into 5 pieces"
