"""Curves are told apart, those that coincide too."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.report.curves.looks import COLOURS, looks

X = np.arange(0, 100, 10)
FALLING = 2.0 / (1 + X / 10)
NONE = (X[:0], FALLING[:0])


def look_of(*curves):
    return looks([list(curves)], len(curves))


def test_curves_that_lie_apart_are_solid_and_of_one_width():
    found = look_of((X, FALLING), (X, FALLING + 0.5), (X, FALLING + 1.0))
    assert [one["color"] for one in found] == list(COLOURS[:3])
    assert {one["linestyle"] for one in found} == {"-"}
    assert len({one["linewidth"] for one in found}) == 1


@pytest.mark.parametrize("distance", [0.0, 0.01])
def test_of_curves_that_coincide_each_shows_through_the_next(distance):
    found = look_of((X, FALLING), (X, FALLING + distance), (X, FALLING), (X, FALLING + 1.0))
    styles = [one["linestyle"] for one in found]
    assert styles[0] == styles[3] == "-" and len(set(styles[:3])) == 3
    assert found[0]["linewidth"] > 1.5 * found[1]["linewidth"] == 1.5 * found[3]["linewidth"]


def test_all_panels_are_looked_at():
    apart = [(X, FALLING), (X, FALLING + 1.0)]
    together = [(X, FALLING), (X, FALLING)]
    # Accuracies are often equal where losses are not; some runs have none.
    assert looks([apart, together], 2)[1]["linestyle"] == "-"
    assert looks([[(X, FALLING), NONE], together], 2)[1]["linestyle"] != "-"


def test_curves_of_other_iterations_or_without_numbers():
    nan = (X, np.full(len(X), np.nan))
    found = look_of((X, FALLING), (X + 1, FALLING), NONE, nan, nan)
    assert {one["linestyle"] for one in found} == {"-"}
    # Every second iteration is enough.
    assert look_of((X, FALLING), (X[::2], FALLING[::2]))[1]["linestyle"] != "-"


@pytest.mark.parametrize("distance", [0.0, 10.0])
def test_colours_that_come_again_come_with_other_dashes(distance):
    found = look_of(*((X, FALLING + k * distance) for k in range(4 * len(COLOURS))))
    seen = {(one["color"], str(one["linestyle"])) for one in found}
    assert len(seen) == len(found)
