"""One curve: raw values, their moving average, where it leaves the axes and where it diverges."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.report.curves.scale import Range

__all__ = ["draw_curve", "moving_average", "smoothed", "window_of"]

#: More points than a figure has pixels only make the file larger.
_MOST_POINTS = 4000
#: Curves of fewer points show each of them.
_FEW_POINTS = 30


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Average each value with its neighbours.

    Args:
        values: (K,) float64; values that are not finite are left out of the averages.
        window: Values in an average, half of them on each side; fewer at both ends.

    Returns:
        (K,) float64; nan where `values` is not finite.
    """
    half = max(0, (window - 1) // 2)
    is_finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_finite)])
    places = np.arange(values.size)
    low = np.maximum(places - half, 0)
    high = np.minimum(places + half + 1, values.size)
    count = np.maximum(counts[high] - counts[low], 1)
    return np.where(is_finite, (sums[high] - sums[low]) / count, np.nan)


def window_of(values: np.ndarray, smooth: int | None) -> int:
    """Points in a curve's moving average; by default a thirtieth of the curve."""
    return max(1, values.size // 30) if smooth is None else smooth


def smoothed(values: np.ndarray, smooth: int | None) -> np.ndarray:
    """What is drawn as a curve: the averages, or the values themselves where these are few."""
    finite = np.where(np.isfinite(values), values, np.nan)  # inf would leave no room for the rest
    window = window_of(values, smooth)
    return moving_average(values, window) if window > 2 else finite


def _thin(*arrays: np.ndarray) -> list[np.ndarray]:
    step = -(-arrays[0].size // _MOST_POINTS)
    return [array[::step] for array in arrays]


def draw_curve(
    axis: Any,
    x: np.ndarray,
    values: np.ndarray,
    smooth: int | None,
    style: dict[str, Any],
    is_raw_shown: bool,
    limits: Range | None = None,
) -> None:
    """Draw a run's values of one series.

    Args:
        axis: Where, an axis of matplotlib's.
        x: (K,), iterations or times.
        values: (K,) float64; may be infinite or NaN, which a cross marks at the end.
        smooth: Points in the moving average; None takes a thirtieth of the curve.
        style: Of the line, as `looks.look` gives it.
        is_raw_shown: Whether the raw values are faint behind their average.
        limits: Where the axis ends, if values lie beyond it.
    """
    if not values.size:
        return
    finite = np.where(np.isfinite(values), values, np.nan)
    shown = smoothed(values, smooth)
    thin_x, thin_finite, thin_shown = _thin(x, finite, shown)
    is_averaged = window_of(values, smooth) > 2
    if is_averaged and is_raw_shown:
        raw = {"color": style["color"], "linewidth": 0.7, "alpha": 0.25}
        axis.plot(thin_x, thin_finite, **raw)
    # A single point makes no line.
    marker = "o" if np.count_nonzero(np.isfinite(thin_shown)) < _FEW_POINTS else None
    axis.plot(thin_x, thin_shown, marker=marker, **style)
    if limits is not None:
        drawn = thin_finite if is_averaged and is_raw_shown else thin_shown
        _mark_beyond(axis, thin_x, drawn, limits, style["color"])
    _mark_end(axis, x, values, shown, limits, style["color"])


def _mark_beyond(axis: Any, x: np.ndarray, values: np.ndarray, limits: Range, colour: str) -> None:
    """A triangle at the edge for each stretch of values beyond it, where it is farthest."""
    low, high = limits
    with np.errstate(invalid="ignore"):
        sides = ((values > high, values, high, "^"), (values < low, -values, low, "v"))
    for is_beyond, height, edge, marker in sides:
        places = np.flatnonzero(is_beyond)
        if not places.size:
            continue
        stretches = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
        tops = [stretch[np.argmax(height[stretch])] for stretch in stretches]
        axis.plot(
            x[tops], np.full(len(tops), edge), marker, color=colour, markersize=5, clip_on=False,
            markeredgecolor="white", markeredgewidth=0.5, zorder=4,
        )  # fmt: skip


def _mark_end(
    axis: Any,
    x: np.ndarray,
    values: np.ndarray,
    shown: np.ndarray,
    limits: Range | None,
    colour: str,
) -> None:
    """A cross where values end that are finite: from there on the training has diverged."""
    last = np.flatnonzero(np.isfinite(values))
    if last.size and last[-1] < values.size - 1:
        height = shown[last[-1]] if limits is None else np.clip(shown[last[-1]], *limits)
        axis.plot(
            x[last[-1]], height, "X", color=colour, markersize=7, markeredgecolor="white",
            markeredgewidth=0.7, zorder=5, clip_on=False,
        )  # fmt: skip
