"""Values that no key can mean: numbers that overflow further down, text that breaks lines."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from dualnet.config.chain import cut_name, piece_names
from dualnet.config.yaml_text import shown
from dualnet.errors import ConfigError

__all__ = ["check_plain", "sections"]

#: Caffe's int32 fields.
_LARGEST = 2**31 - 1
#: Thirty years; the system's timers overflow somewhat later.
_LONGEST_S = 1e9


def sections(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A Config and its sections, each piece and each cut among them.

    Args:
        config: A dataclass of the schema.
        prefix: What its keys begin with.

    Yields:
        ("", config), ("train.", config.train), ("net1.", config.pieces[0]) and so on.
    """
    yield prefix, config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from sections(value, f"{prefix}{field.name}.")
        elif field.name == "pieces":
            names: Sequence[str] = piece_names(len(value))
            yield from ((f"{name}.", piece) for name, piece in zip(names, value))
        elif field.name == "cuts":
            names = [cut_name(index, len(value) + 1) for index in range(len(value))]
            yield from ((f"{name}.", cut) for name, cut in zip(names, value))


def check_plain(config: Any, source: str) -> None:
    """Check every value of a Config.

    Args:
        config: It.
        source: What the message begins with.

    Raises:
        ConfigError: An integer that does not fit 32 bits (64 for a key that ends with `_bytes`), a
            number that is not finite, seconds beyond 1e9, or text with control characters.
    """
    for prefix, section in sections(config):
        for field in dataclasses.fields(section):
            key, value = f"{prefix}{field.name}", getattr(section, field.name)
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
