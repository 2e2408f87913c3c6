"""Durations for people."""

from __future__ import annotations

import pytest

from dualnet.report.durations import in_time


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"), (12.4, "12 s"), (119.0, "119 s"), (120.0, "2 min"), (3570.0, "60 min"),
        (7199.0, "2 h"), (7800.0, "2 h 10 min"), (172799.0, "48 h"), (900000.0, "250 h"),
    ],
)  # fmt: skip
def test_the_unit_suits_them(seconds, expected):
    assert in_time(seconds) == expected
