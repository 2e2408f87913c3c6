"""The records of a measurement as a table for the eye; the JSON lines stay what programs read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualnet.columns import aligned

__all__ = ["records_table"]

Record = dict[str, Any]


def records_table(records: Sequence[Record]) -> str:
    """Records as text, those with the same keys below each other.

    Numbers and words are shown; what is nested (per piece, per quartile) is in the lines alone.

    Args:
        records: In the order in which they came.

    Returns:
        Tables with a header, a blank line between them; "" without records.
    """
    return "\n".join(map(_table, _groups(records)))


def _groups(records: Sequence[Record]) -> list[list[Record]]:
    """Records in succession that have the same keys to show."""
    groups: list[list[Record]] = []
    for record in records:
        shown = {key: value for key, value in record.items() if _is_plain(value)}
        if groups and list(groups[-1][0]) == list(shown):
            groups[-1].append(shown)
        elif shown:
            groups.append([shown])
    return groups


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _table(records: Sequence[Record]) -> str:
    keys = list(records[0])
    rows = [keys, *([_cell(record[key]) for key in keys] for record in records)]
    words = {place for place, key in enumerate(keys) if isinstance(records[0][key], str)}
    return "".join(f"{line}\n" for line in aligned(rows, words))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
