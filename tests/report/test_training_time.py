"""Times of a training without pauses, repetitions and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log
from dualnet.report.training_time import training_seconds


class Clock:
    """The time of day; a test moves it."""

    def __init__(self):
        self.now_s = 1.7e9

    def __call__(self):
        return self.now_s


@pytest.fixture
def log(tmp_path):
    """Writes starts of a training: `write(first, last, seconds an iteration, start-up)`."""
    clock, path = Clock(), tmp_path / "net2.log"

    def write(first, last, each_s=2.0, start_up_s=0.0):
        with CaffeLog(path, clock=clock) as made:
            made.solving("net")
            clock.now_s += start_up_s
            for k in range(first, last):
                if k % 10 == 0:
                    made.testing(k, {"accuracy": 0.5})
                if k % 5 == 0:
                    made.training(k, 1.0, {"loss": 1.0})
                clock.now_s += each_s

    write.clock, write.path = clock, path
    return write


def times(path):
    return dict(zip(*(array.tolist() for array in training_seconds(parse_log(path)))))


def test_one_start(log):
    log(0, 30)
    assert times(log.path) == {0: 0, 5: 10, 10: 20, 15: 30, 20: 40, 25: 50}


def test_what_was_repeated_and_the_pause_before_it_are_left_out(log):
    log(0, 28)
    log.clock.now_s += 5000.0
    log(20, 36, start_up_s=60.0)
    assert times(log.path) == {k: 2 * k for k in range(0, 36, 5)}


def test_starts_of_different_speed(log):
    log(0, 20)
    log.clock.now_s += 5000.0
    log(20, 30, each_s=1.0)
    log.clock.now_s += 5000.0
    log(20, 40, each_s=3.0)
    found = times(log.path)
    assert [found[k] for k in (15, 20, 25, 30, 35)] == [30, 40, 55, 70, 85]
    assert list(found) == sorted(found)


def test_a_start_that_came_to_one_line_takes_the_speed_of_the_next(log):
    log(0, 3)
    log.clock.now_s += 5000.0
    log(5, 20)
    assert times(log.path) == {0: 0, 5: 10, 10: 20, 15: 30}


def test_a_clock_that_goes_back_never_makes_time_fall(log):
    log(0, 20)
    log.clock.now_s -= 9.0
    log(20, 40)
    seconds = np.array(list(times(log.path).values()))
    assert (np.diff(seconds) >= 0).all()


def test_an_empty_log(tmp_path):
    (tmp_path / "net1.log").write_text("")
    iterations, seconds = training_seconds(parse_log(tmp_path / "net1.log"))
    assert iterations.size == seconds.size == 0
