"""Who waits for whom, in words."""

from __future__ import annotations

import pytest

from dualnet.report.waits import in_words


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ({}, ""),
        ({"net1": ("", 0.0), "net2": ("net1", 0.2)}, ""),
        ({"net1": ("net2", 12.4), "net2": ("", 0.0)}, "net1 waits for net2, 12 s"),
        (
            {"net1": ("net2", 12.4), "net2": ("net3", 30.0), "net3": ("", 0.0)},
            "net1 waits for net2, net2 for net3, 30 s",
        ),
        (
            {f"net{k}": (f"net{k + 1}", 300.0 - k) for k in range(1, 12)},
            "11 pieces wait, in the end for net12, 5 min",
        ),
        (
            {"net1": ("net2", 9.0), "net3": ("net2", 9.0), "net4": ("net3", 8.0),
             "net5": ("net4", 7.0)},
            "4 pieces wait, in the end for net2, 9 s",
        ),
    ],
)  # fmt: skip
def test_long_waits_are_said(waits, expected):
    assert in_words(waits) == expected


def test_a_circle_is_named():
    ring = {f"net{k + 1}": (f"net{(k + 1) % 4 + 1}", 10.0) for k in range(4)}
    assert in_words(ring) == "4 pieces wait, in the end for each other, 10 s"
