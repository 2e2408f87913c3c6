"""Rows of text in columns."""

from __future__ import annotations

from dualnet.columns import aligned


def test_each_column_is_as_wide_as_its_widest_cell():
    rows = [["net", "batch", "about"], ["caffenet", "16", "a"], ["a", "256", ""]]
    assert aligned(rows, {0, 2}) == [
        "net       batch  about",
        "caffenet     16  a",
        "a           256",
    ]
    assert aligned([["a", "b"], ["10", "9"]], range(0)) == [" a  b", "10  9"]
