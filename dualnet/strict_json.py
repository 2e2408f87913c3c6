"""JSON for other programs: strict (RFC 8259), also where a number is infinite or none at all.

Python writes Infinity and NaN, which jq, browsers and databases refuse. Here they become null, and
the object says at its end which ones they were:

    {"accuracy": 0.1, "loss": null, "samples": 360, "not_finite": {"loss": "Infinity"}}

The keys of `not_finite` are the places, joined by dots; the values are "Infinity", "-Infinity" and
"NaN". It is there only where it is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Optional

__all__ = ["NOT_FINITE", "from_text", "to_json", "to_text"]

#: The key that says which numbers were not finite.
NOT_FINITE = "not_finite"


def to_json(value: Any, indent: Optional[int] = None) -> str:
    """Write a value as one JSON text.

    Args:
        value: What `json.dumps` takes; NumPy's floats are numbers, too.
        indent: Spaces for each level; None for a single line.

    Returns:
        The text, without a newline at its end.
    """
    found: dict[str, str] = {}
    plain = _plain(value, "", found)
    if found and isinstance(plain, dict):
        plain[NOT_FINITE] = found
    return json.dumps(plain, indent=indent, allow_nan=False)


def _plain(value: Any, place: str, found: dict[str, str]) -> Any:
    """The value with null for what is not finite, whose places are added to `found`."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, _join(place, key), found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, _join(place, i), found) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        found[place] = _name(value)
        return None
    return value


def _join(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _name(value: float) -> str:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# Within our own records a number keeps its place, so that it can be read back.


def to_text(number: float) -> float | str:
    """A number for a record of ours: itself if it is finite, else its name."""
    return number if math.isfinite(number) else _name(number)


def from_text(field: float | str) -> float:
    """The inverse of `to_text`. Raises ValueError or TypeError if it is not a number."""
    return float(field)
