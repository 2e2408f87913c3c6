"""Which runs of a listing are shown, and in which order."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Optional, Union

from dualnet.errors import UsageError
from dualnet.report.compare.listing import Listed
from dualnet.report.compare.settings import differing, short_names

__all__ = ["SORTS", "select"]

#: What runs are ordered by; None: it is not known of this one.
Value = Union[str, float, None]

#: A column's name to what it is of a run, and whether the largest comes first.
SORTS: dict[str, tuple[Callable[[Listed], Value], bool]] = {
    "run": (lambda one: one.run_dir, False),
    "began": (lambda one: one.began or None, False),
    "state": (lambda one: one.state, False),
    "iteration": (lambda one: one.iteration, True),
    "loss": (lambda one: None if one.has_diverged else one.loss, False),
    "accuracy": (lambda one: None if one.has_diverged else one.accuracy, True),
    "best": (lambda one: None if one.has_diverged else one.best_accuracy, True),
    "time": (lambda one: one.time_s, False),
    "speed": (lambda one: one.iterations_per_s, True),
}


def select(
    listed: Sequence[Listed], where: Sequence[str] = (), sort: str = "", is_reversed: bool = False
) -> list[Listed]:
    """The runs that are asked for, in order.

    Args:
        listed: All runs.
        where: `KEY=VALUE` strings that each must hold: KEY is `state` or a setting, in full or by
            its last word; without a value, where it is not set.
        sort: A name of `SORTS`, or a setting; "": as they are. Those without it are last.
        is_reversed: The other way round.

    Raises:
        UsageError: No run has such a setting, or holds `where`, or that has no "=".
    """
    found = list(listed)
    for condition in where:
        key, equals, value = condition.partition("=")
        if not equals:
            raise UsageError(f"--where {condition}: expected KEY=VALUE, as target=gradient")
        if key != "state":
            key = _setting(listed, key, "--where")
        has = {one.run_dir: _value(one, key) for one in found}
        found = [one for one in found if has[one.run_dir] == value]
        if not found:
            values = ", ".join(sorted({text or "not set" for text in has.values()}))
            raise UsageError(f"--where {condition}: no run has that; of those left it is {values}")
    if sort:
        value_of, largest_first = SORTS.get(sort) or (_of_setting(listed, sort), False)
        known = [one for one in found if value_of(one) is not None]
        known.sort(key=lambda one: _rank(value_of(one)), reverse=largest_first != is_reversed)
        found = known + [one for one in found if value_of(one) is None]
    elif is_reversed:
        found.reverse()
    return found


def _value(one: Listed, key: str) -> str:
    return one.state if key == "state" else one.settings.get(key, "")


def _of_setting(listed: Sequence[Listed], name: str) -> Callable[[Listed], Value]:
    key = _setting(listed, name, "--sort")

    def value_of(one: Listed) -> Value:
        text = one.settings.get(key)
        try:
            return None if text is None else float(text)
        except ValueError:
            return text

    return value_of


def _rank(value: Value) -> tuple[bool, float, str]:
    """Numbers in their order, then words."""
    is_word = isinstance(value, str)
    return is_word, 0.0 if isinstance(value, str) or value is None else value, str(value)


def _setting(listed: Sequence[Listed], name: str, option: str) -> str:
    """The key that a name means."""
    keys = list(dict.fromkeys(key for one in listed for key in one.settings))
    meant: Optional[str] = name if name in keys else None
    if meant is None:
        meant = next((key for key, short in short_names(keys).items() if short == name), None)
    if meant is None:
        columns = ["state"] if option == "--where" else list(SORTS)
        words = [*columns, *short_names(keys).values(), *keys]
        close = difflib.get_close_matches(name, words, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        differ = differing([one.settings for one in listed])
        known = ", ".join([*columns, *differ])
        raise UsageError(
            f"{option} {name}: no run has this setting{hint}; there are {known}, and those that "
            "all runs have the same value of (dualnet runs RUN_DIR)"
        )
    return meant
