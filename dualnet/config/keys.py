"""What a key allows is said where the key stands: `key(20, least=1)`. Checked here for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from dualnet.config.yaml_text import shown

__all__ = ["key", "words_of", "wrong_values"]

#: What `key` leaves in a field's metadata.
_RANGE, _ONE_OF = "range", "one_of"


@dataclass(frozen=True)
class _Range:
    """The numbers that a key may have; `zero` says what its lower end 0 is for."""

    least: Optional[float] = None
    most: Optional[float] = None
    above: Optional[float] = None
    below: Optional[float] = None
    zero: str = ""

    def problem(self, value: float) -> str:
        """What is wrong with a number, "" if nothing is. NaN lies in no range."""
        fits = (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if fits:
            return ""
        if self.above is not None and self.below is not None:
            return f"is not between {self.above:g} and {self.below:g}"
        if self.below is not None or self.most is not None:
            end = self.below if self.most is None else self.most
            return f"is not within {self.least:g} and {end:g}"
        if self.least == 0:
            return f"is negative; 0 {self.zero}" if self.zero else "is negative"
        return "is not positive"


def key(
    default: Any,
    *,
    one_of: tuple[Optional[str], ...] = (),
    least: Optional[float] = None,
    most: Optional[float] = None,
    above: Optional[float] = None,
    below: Optional[float] = None,
    zero: str = "",
) -> Any:
    """A field of a section, with what it allows. None is allowed wherever it is the default.

    Args:
        default: Its value where the YAML is silent.
        one_of: The words that it may be.
        least, most: The smallest and the largest number.
        above, below: Numbers that it must not reach.
        zero: What 0 does, for the message, where it is the least.
    """
    bounds = _Range(least, most, above, below, zero)
    return field(default=default, metadata={_ONE_OF: one_of, _RANGE: bounds})


def words_of(entry: dataclasses.Field[Any]) -> list[str]:
    """The words that a key may be, in their order; [] where it may be others."""
    return [word for word in entry.metadata.get(_ONE_OF, ()) if word]


def wrong_values(section: Any) -> Iterator[tuple[str, str]]:
    """Each key of a section whose value it does not allow, with what is wrong.

    Args:
        section: A dataclass whose fields are made by `key`, where they allow less than their type.

    Yields:
        The key's name and, for instance, "-1 is negative; 0 switches it off".
    """
    for entry in dataclasses.fields(section):
        value = getattr(section, entry.name)
        words = entry.metadata.get(_ONE_OF)
        if words and value not in words:
            yield entry.name, f"{shown(value)} is none of {', '.join(map(str, words))}"
        bounds = entry.metadata.get(_RANGE)
        if bounds and isinstance(value, (int, float)) and not isinstance(value, bool):
            problem = bounds.problem(value)
            if problem:
                yield entry.name, f"{value} {problem}"
