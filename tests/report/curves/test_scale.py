"""Axes: from where to where, with which numbers."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.report.curves.scale import (
    around,
    choose_range,
    in_words,
    set_ticks,
    time_unit,
    wants_log,
)

FALLING = 2.0 / np.arange(1.0, 41.0)
LINE = np.linspace(1.0, 3.0, 40)


def spiked(*values):
    return np.concatenate([values, LINE])


def test_a_loss_that_falls_has_room():
    assert choose_range([FALLING], False) is None
    assert choose_range([LINE, LINE + 2], False) is None
    assert choose_range([np.zeros(40)], False) is None
    assert choose_range([], False) is None and choose_range([LINE[:0]], False) is None


def test_far_values_end_the_axis_before_them():
    low, high = choose_range([spiked(87.3), LINE], False)
    assert 0.8 < low < 1.0 and 3.0 < high < 3.3
    low, high = choose_range([spiked(-50.0)], False)
    assert 0.8 < low < 1.0


def test_far_values_on_a_logarithmic_axis():
    assert choose_range([spiked(87.3, 900.0)], True) is None
    low, high = choose_range([spiked(1e20)], True)
    assert 0.8 < low < 1.0 and 3.0 < high < 3.5
    low, _ = choose_range([spiked(0.0, -1.0)], True)  # these have no place there at all
    assert 0.8 < low < 1.0


def test_of_few_points_each_counts():
    assert choose_range([np.array([1.0, 2.0, 1.5, 40.0])], False) is None


def test_many_far_values_are_a_curve_of_their_own():
    assert choose_range([LINE, LINE + 50.0], False) is None


def test_when_axes_are_logarithmic():
    assert not wants_log([FALLING], None)
    assert wants_log([2.0 / np.arange(1.0, 401.0)], None)
    assert not wants_log([spiked(1e6)], None)  # one far value makes no span
    assert not wants_log([np.append(FALLING, 0.0)], None)  # zero has no place there
    assert wants_log([FALLING], True) and not wants_log([-FALLING], True)
    assert not wants_log([np.full(9, np.nan)], None)


def test_margins():
    assert around(np.array([0.0, 10.0])) == (-0.5, 10.5)
    assert around(np.array([4.0])) == (3.8, 4.2) and around(np.zeros(3)) == (-0.5, 0.5)
    assert around(np.zeros(0)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (0.05, "0.05"), (0.1 + 0.2, "0.3"), (12.0, "12"), (5000.0, "5,000"),
     (123456.0, "123,456"), (-2500.0, "-2,500"), (1e-6, "1e-06"), (2e8, "2e+08")],
)  # fmt: skip
def test_numbers_at_ticks(value, expected):
    assert in_words(value) == expected


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(0.0, "s"), (120.0, "s"), (151.0, "min"), (8000.0, "min"), (9001.0, "h"), (3e5, "days")],
)
def test_units_of_time(seconds, unit):
    assert time_unit(seconds)[0] == unit


@pytest.fixture
def ticks(matplotlib):
    """The numbers at an axis from one value to another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def make(low, high, is_log=False, most=6, is_whole=False):
        figure = Figure(figsize=(6, 3))
        FigureCanvasAgg(figure)
        axis = figure.add_subplot(1, 1, 1)
        if is_log:
            axis.set_yscale("log")
        axis.set_ylim(low, high)
        set_ticks(axis.yaxis, is_log, most, is_whole)
        figure.canvas.draw()
        shown = [(tick.get_loc(), tick.label1.get_text()) for tick in axis.yaxis.get_major_ticks()]
        return [text for place, text in shown if low <= place <= high]

    return make


def test_steps_are_of_one_two_and_five(ticks):
    assert ticks(0, 5000) == ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
    assert ticks(0, 0.22) == ["0", "0.05", "0.1", "0.15", "0.2"]
    assert ticks(0, 3, is_whole=True) == ["0", "1", "2", "3"]


def test_logarithmic_steps(ticks):
    assert ticks(0.09, 2.1, is_log=True) == ["0.1", "0.2", "0.5", "1", "2"]
    assert ticks(0.0009, 2.1, is_log=True) == ["0.001", "0.01", "0.1", "1"]
