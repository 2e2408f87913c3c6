"""The chain that is chosen, against every chain there is."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.chains import Setting, chain_of, fastest_chain, smallest_chain
from dualnet.cut.plan.cuts import can_follow, find_cuts
from dualnet.cut.plan.estimate import Costs
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.schedule_time import alternating, overlapped, pipelined
from dualnet.cut.plan.times import LayerTimes
from dualnet.cut.shapes import Built
from tests.cut.plan.planning import learning, wired

#: A straight net of eleven layers that learn.
DEPTH = 11
STRAIGHT = (
    'layer { name: "data" type: "Data" top: "ip0" top: "label" }\n'
    + "".join(
        f'layer {{ name: "ip{n}" type: "InnerProduct" bottom: "ip{n - 1}" top: "ip{n}" }}\n'
        for n in range(1, DEPTH + 1)
    )
    + f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip{DEPTH}" bottom: "label" '
    'top: "loss" }\n'
)
SCHEDULES = {
    "alternating": alternating,
    "overlapped": overlapped,
    "1f1b": lambda pieces: pipelined(pieces, 4),
    "gpipe": lambda pieces: pipelined(pieces, 4, "gpipe"),
}


def drawn(seed):
    """Costs and cuts of the net with layers of random size and time."""
    rng = random.Random(seed)
    widths = [rng.randint(1, 40) for _ in range(DEPTH + 1)]
    blobs = {f"ip{n}": [8, width] for n, width in enumerate(widths)}
    parameters = {
        n: [[above, below], [above]] for n, (below, above) in enumerate(zip(widths, widths[1:]), 1)
    }
    built = Built({**blobs, "label": [8], "loss": []}, parameters)
    dataflow = wired(STRAIGHT)
    times = LayerTimes(
        {n: rng.uniform(0.2, 1.0) for n in range(DEPTH + 2)},
        {n: rng.uniform(0.4, 2.0) for n in range(DEPTH + 2)},
        rng.uniform(0.1, 0.5), 1e-5, 0,
    )  # fmt: skip
    carrier = Carrier([0, 2000], [0.02, 0.3], [0.01, 0.12])
    found = Costs(dataflow, built, times, carrier, Memory(dataflow, built, "SGD"))
    return found, find_cuts(dataflow, learning(dataflow, built))[0]


def every(cuts, pieces, setting):
    """All chains whose dual layers lie below their next cut."""
    for chosen in combinations(cuts, pieces - 1):
        if all(can_follow(*pair) for pair in zip(chosen, chosen[1:])):
            yield chain_of(chosen, {"it": setting})


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_the_fastest_is_the_fastest_of_all(name, pieces):
    for seed in range(3):
        costs, cuts = drawn(seed)
        setting = Setting(costs, SCHEDULES[name])
        found = chain_of(fastest_chain(cuts, pieces, setting), {"it": setting})
        times = [chain.outcomes["it"].seconds for chain in every(cuts, pieces, setting)]
        assert len(times) > 8
        assert found.outcomes["it"].seconds == pytest.approx(min(times)), seed


@pytest.mark.parametrize("pieces", [2, 3, 4])
@pytest.mark.parametrize("name", SCHEDULES)
def test_memory_bounds_every_piece(name, pieces):
    for seed in range(3, 5):
        costs, cuts = drawn(seed)
        setting = Setting(costs, SCHEDULES[name])
        chains = list(every(cuts, pieces, setting))
        least = min(chain.outcomes["it"].largest_bytes for chain in chains)
        small = chain_of(smallest_chain(cuts, pieces, setting), {"it": setting}).outcomes["it"]
        assert least <= small.largest_bytes <= 1.05 * least
        assert fastest_chain(cuts, pieces, setting, least - 1) is None
        limit = sorted(chain.outcomes["it"].largest_bytes for chain in chains)[len(chains) // 3]
        fits = [chain.outcomes["it"] for chain in chains]
        fits = [outcome for outcome in fits if outcome.largest_bytes <= limit]
        found = chain_of(fastest_chain(cuts, pieces, setting, limit), {"it": setting})
        assert found.outcomes["it"].largest_bytes <= limit
        assert found.outcomes["it"].seconds == pytest.approx(min(o.seconds for o in fits))


def test_a_schedule_that_keeps_batches_needs_their_memory():
    costs, cuts = drawn(1)
    settings = {name: Setting(costs, schedule) for name, schedule in SCHEDULES.items()}
    outcomes = chain_of([cuts[2], cuts[6]], settings).outcomes
    pieces = outcomes["alternating"].pieces
    kept = {"alternating": (1, 1, 1), "overlapped": (3, 2, 1), "1f1b": (3, 2, 1)}
    for name, counts in {**kept, "gpipe": (4, 4, 1)}.items():
        assert outcomes[name].memory_bytes == [
            piece.fixed_bytes + count * piece.batch_bytes for piece, count in zip(pieces, counts)
        ]


def test_loads_are_what_the_pieces_were_busy_with():
    costs, cuts = drawn(2)
    outcome = chain_of([cuts[3]], {"it": Setting(costs, overlapped)}).outcomes["it"]
    # Bounded by its slowest piece, which therefore never rests.
    assert outcome.bound_s == max(outcome.loads_s) == pytest.approx(outcome.seconds)
    shared = chain_of([cuts[3]], {"it": Setting(costs, overlapped, 1)}).outcomes["it"]
    assert shared.bound_s == sum(outcome.loads_s) == pytest.approx(shared.seconds)


def test_there_is_no_chain_of_more_pieces_than_the_cuts_allow():
    costs, cuts = drawn(1)
    setting = Setting(costs, alternating)
    assert fastest_chain(cuts, len(cuts) + 2, setting) is None
    assert smallest_chain(cuts, len(cuts) + 2, setting) is None
