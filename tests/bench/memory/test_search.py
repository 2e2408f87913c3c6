"""The largest batch that fits, against a machine whose memory is a formula."""

from __future__ import annotations

import pytest

from dualnet.bench.memory.search import largest


class Machine:
    """Fits whatever needs no more than its limit; counts the tries."""

    def __init__(self, fixed, each, limit):
        self.fixed, self.each, self.limit = fixed, each, limit
        self.tried = []

    def __call__(self, batch):
        assert batch not in self.tried, f"batch {batch} tried twice"
        self.tried.append(batch)
        needed = self.fixed + self.each * batch
        return needed if needed <= self.limit else None

    @property
    def capacity(self):
        return int((self.limit - self.fixed) // self.each)


@pytest.mark.parametrize("limit_known", [False, True])
@pytest.mark.parametrize("start", [1, 7, 64, 5000])
@pytest.mark.parametrize(("fixed", "each", "limit"), [(200, 0.7, 1000), (0, 3, 100), (10, 90, 101)])
def test_finds_the_exact_capacity(fixed, each, limit, start, limit_known):
    machine = Machine(fixed, each, limit)
    found = largest(machine, start, limit if limit_known else None, resolution=1e-9)
    assert found == machine.capacity


@pytest.mark.parametrize("start", [1, 64, 100000])
def test_comes_as_near_as_asked(start):
    machine = Machine(200, 1, 80200)
    found = largest(machine, start, 80200, resolution=0.01)
    assert found <= machine.capacity <= found * 1.011


def test_a_line_is_found_in_few_tries():
    guessing, blind = Machine(200, 1, 80200), Machine(200, 1, 80200)
    largest(guessing, 64, 80200, resolution=0.001)
    largest(blind, 64, None, resolution=0.001)
    assert len(guessing.tried) < len(blind.tried)


def test_memory_that_jumps_misleads_the_guesses_but_not_the_result():
    def peak(batch):  # falls where a line would rise, then jumps over the limit
        return {True: 100.0 - batch % 7, False: None}[batch <= 1234]

    assert largest(peak, 64, 1e6, resolution=1e-9) == 1234


def test_nothing_fits():
    machine = Machine(200, 1, 100)
    assert largest(machine, 64, 100.0) == 0
    assert machine.tried[-1] == 1
