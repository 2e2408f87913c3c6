"""Rows of text in columns, each as wide as its widest cell."""

from __future__ import annotations

from collections.abc import Container, Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]], left: Container[int]) -> list[str]:
    """A line for each row.

    Args:
        rows: Of as many cells each.
        left: The places of the columns whose cells stand to the left; the others, numbers mostly,
            stand to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
