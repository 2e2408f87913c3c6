"""Axes: linear or logarithmic, from where to where, and with which numbers.

A few values far from all others, as the first loss of a net that begins badly or the last ones of a
net that diverges, would leave no room for the rest. The axis ends before them, and triangles at its
edge say where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np

__all__ = ["Range", "around", "choose_range", "in_words", "set_ticks", "time_unit", "wants_log"]

#: A loss that spans more than this factor is drawn on a logarithmic axis.
_LOG_SPAN = 100.0
#: Values that may lie beyond the axis, as a share of a curve, and how far from the others, in units
#: of what these span.
_OUTLIERS, _FAR = 0.05, 1.5
#: On a logarithmic axis, in powers of ten.
_FAR_DECADES = 2.0
#: Seconds in the units of time, the smallest first, each used from some number of its own on.
_UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("days", 86400.0))

Range = tuple[float, float]


def around(values: np.ndarray, margin: float = 0.05) -> Range:
    """The least and the largest of values, with a share of what is between them as a margin."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    space = margin * ((high - low) or abs(high)) or 0.5
    return low - space, high + space


def wants_log(curves: Sequence[np.ndarray], log_scale: Optional[bool]) -> bool:
    """Whether curves get a logarithmic axis.

    Args:
        curves: The values of each, (K,) float64.
        log_scale: The user's word, if there is one.
    """
    finite = [one[np.isfinite(one)] for one in curves]
    values = np.concatenate([*finite, np.zeros(0)])
    if log_scale is not None:
        return log_scale and bool((values > 0).any())
    # Curves that touch zero, as that of a frozen net, keep the axis on which zero exists.
    if not values.size or values.min() <= 0:
        return False
    low, high = _reach(finite, is_log=True)
    return high > _LOG_SPAN * low


def choose_range(curves: Sequence[np.ndarray], is_log: bool) -> Optional[Range]:
    """From where to where a vertical axis goes; None where all values have room on it.

    Args:
        curves: The values of each, (K,) float64.
        is_log: Whether it is logarithmic: far values have room there, but not zero.
    """
    finite = [one[np.isfinite(one)] for one in curves]
    values = np.concatenate([*finite, np.zeros(0)])
    if is_log:
        finite = [one[one > 0] for one in finite]
    if not any(one.size for one in finite):
        return None
    low, high = _reach(finite, is_log)
    slack = 1e-9 * max(abs(low), abs(high))  # of logarithms
    if low == high or (low - slack <= values.min() and values.max() <= high + slack):
        return None
    if not is_log:
        return around(np.array([low, high]))
    bottom, top = around(np.log10([low, high]))
    return float(10.0**bottom), float(10.0**top)


def _reach(curves: Iterable[np.ndarray], is_log: bool) -> Range:
    """The least and the largest value that are not far from all others.

    From what is left without each curve's few extremes the range grows as long as the next value is
    near: the steep beginning of a curve is no outlier.
    """
    given = [np.sort(np.log10(one) if is_log else one) for one in curves if one.size]
    # Of a short curve every point counts.
    left_out = [int(np.ceil(_OUTLIERS * one.size)) if one.size >= 20 else 0 for one in given]
    low = min(float(one[k]) for one, k in zip(given, left_out))
    high = max(float(one[-1 - k]) for one, k in zip(given, left_out))
    values = np.sort(np.concatenate(given))
    for value in values[values > high]:
        if value - high > (_FAR_DECADES if is_log else _FAR * (high - low)):
            break
        high = float(value)
    for value in values[values < low][::-1]:
        if low - value > (_FAR_DECADES if is_log else _FAR * (high - low)):
            break
        low = float(value)
    return (10.0**low, 10.0**high) if is_log else (low, high)


def set_ticks(axis: Any, is_log: bool, most: int, is_whole: bool = False) -> None:
    """Numbers in steps of 1, 2 and 5, with commas at the thousands.

    Args:
        axis: An x axis or a y axis of matplotlib's.
        is_log: Whether it is logarithmic.
        most: Numbers that have room.
        is_whole: Whether there is nothing between whole numbers.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if is_log:
        low, high = axis.get_view_interval()
        decades = np.log10(high / low) if low > 0 else 9.0
        # All of 1, 2 and 5 where they have room, else powers of ten only.
        steps = (1.0, 2.0, 5.0) if 3 * decades <= most + 1 else (1.0,)
        axis.set_major_locator(LogLocator(base=10.0, subs=steps, numticks=most + 2))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=is_whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: in_words(value)))


def in_words(value: float) -> str:
    """A number as it stands at a tick: 0.05, 12, 5,000, 1e-06."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.10g}"


def time_unit(most_s: float) -> tuple[str, float]:
    """The unit for an axis of times, and its seconds.

    Args:
        most_s: The longest time.
    """
    # In the smaller unit up to a few of the larger one: 150 s, 150 min.
    fitting = [one for one in _UNITS if most_s >= 2.5 * one[1]]
    return fitting[-1] if fitting else _UNITS[0]
