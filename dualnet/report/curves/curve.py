"""One curve: its raw values, their moving average, and where it diverges.

Curves keep to colours that colour-blind readers tell apart (Okabe and Ito, "Color Universal
Design", 2008), with a line style of their own as well where there are more runs than colours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["draw_curve", "line_style", "moving_average"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":")
#: More points than a figure has pixels only make the file larger.
_MOST_POINTS = 4000


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


def _thin(*arrays: np.ndarray) -> list[np.ndarray]:
    step = -(-arrays[0].size // _MOST_POINTS)
    return [array[::step] for array in arrays]


def draw_curve(
    axis: Any,
    iterations: np.ndarray,
    values: np.ndarray,
    smooth: int | None,
    style: dict[str, Any],
    is_raw_shown: bool,
) -> None:
    """Draw a run's values of one series.

    Args:
        axis: Where, an axis of matplotlib's.
        iterations: (K,) int64.
        values: (K,) float64; may be infinite or NaN, which a cross marks at the end.
        smooth: Points in the moving average; None takes a thirtieth of the curve.
        style: Of the line: what `line_style` returns, and a width.
        is_raw_shown: Whether the raw values are faint behind their average.
    """
    if not values.size:
        return
    window = max(1, values.size // 30) if smooth is None else smooth
    finite = np.where(np.isfinite(values), values, np.nan)  # inf would leave no room for the rest
    average = moving_average(values, window)
    thin_iterations, thin_finite, thin_average = _thin(iterations, finite, average)
    is_smoothed = window > 2
    if is_smoothed and is_raw_shown:
        axis.plot(thin_iterations, thin_finite, **{**style, "linewidth": 0.7, "alpha": 0.25})
    shown = thin_average if is_smoothed else thin_finite
    # A single point makes no line.
    marker = "o" if np.count_nonzero(np.isfinite(shown)) < 30 else None
    axis.plot(thin_iterations, shown, marker=marker, markersize=3, **style)
    last = np.flatnonzero(np.isfinite(values))
    if last.size and last[-1] < values.size - 1:  # from there on nan or inf: it has diverged
        axis.plot(
            iterations[last[-1]], average[last[-1]], "X", color=style["color"], markersize=7,
            markeredgecolor="white", markeredgewidth=0.7, zorder=5,
        )  # fmt: skip


def line_style(k: int) -> dict[str, Any]:
    """Colour and line style of run k, the same in every panel."""
    style = _STYLES[k // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[k % len(_COLOURS)], "linestyle": style}
