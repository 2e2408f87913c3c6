"""Work in several processes: the order of the results, and what happens when something fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial

import pytest

from dualnet.data.own_images.workers import ordered_map
from dualnet.errors import DualnetError


def square(number):
    return number * number


def fail_at(where, number):
    if number == where:
        raise ValueError(f"no {number}")
    return number


def die_at(where, number):
    if number == where:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_things_are_read_as_needed(workers):
    read = []

    def things():
        for number in range(10_000):
            read.append(number)
            yield number

    results = ordered_map(square, things(), workers)
    assert [next(results) for _ in range(40)] == [n * n for n in range(40)]
    assert len(read) <= 40 + 8 * 4 * workers
    results.close()
    assert not multiprocessing.active_children()
    assert list(ordered_map(square, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_passed_on(workers):
    results = ordered_map(partial(fail_at, 5), range(20), workers)
    with pytest.raises(ValueError, match="no 5"):
        list(results)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_told_in_one_line():
    with pytest.raises(DualnetError, match="one of 2 worker processes died.*--workers"):
        list(ordered_map(partial(die_at, 5), range(20), 2))
