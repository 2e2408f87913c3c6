"""Values that no key can mean: numbers that overflow further down, text that breaks lines."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from typing import Any

from dualnet.config.yaml_text import shown
from dualnet.errors import ConfigError

__all__ = ["check_plain"]

#: Caffe's int32 fields.
_LARGEST = 2**31 - 1
#: Thirty years; the system's timers overflow somewhat later.
_LONGEST_S = 1e9


def check_plain(section: Any, source: str, prefix: str = "") -> None:
    """Check every value of a Config or of a section of it.

    Args:
        section: A dataclass of the schema.
        source: What the message begins with.
        prefix: The section's key with a dot, for the message.

    Raises:
        ConfigError: An integer that does not fit 32 bits (64 for a key that ends with `_bytes`), a
            number that is not finite, seconds beyond 1e9, or text with control characters.
    """
    for field in dataclasses.fields(section):
        key, value = f"{prefix}{field.name}", getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            check_plain(value, source, f"{key}.")
            continue
        if isinstance(value, tuple):
            kind = {"pieces": "net", "cuts": "cut"}[field.name]
            for number, one in enumerate(value, 1):
                check_plain(one, source, f"{kind}{number}.")
            continue
        for item in _items(value):
            problem = _problem(key, item)
            if problem:
                raise ConfigError(f"{source}: {key}: {shown(item)} {problem}")


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else [value]


def _problem(key: str, value: Any) -> str:
    """What is wrong with a value, "" if nothing is."""
    if isinstance(value, int):
        if key.endswith("_bytes"):
            return "" if value.bit_length() < 64 else "does not fit 64 bits"
        return "" if -_LARGEST <= value <= _LARGEST else f"is beyond {_LARGEST} (32 bits)"
    if isinstance(value, float):
        if key.endswith("_s") and not value <= _LONGEST_S:
            return f"is beyond {_LONGEST_S:g} seconds"
        return "" if math.isfinite(value) else "is not a finite number"
    if isinstance(value, str) and not all(map(_is_plain, value)):
        return "has a control character, which neither a name nor a path should have"
    return ""


def _is_plain(character: str) -> bool:
    """Whether it can stand in a line of a log: no control, no line end, no half of a surrogate."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
