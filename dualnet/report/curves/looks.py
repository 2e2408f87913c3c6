"""Colours, dashes and widths by which curves are told apart, those that coincide included.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers
tell apart. Of curves that coincide, as an exact chain's and the single net's, each is drawn over
the one before it, thinner and with gaps through which that one shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from dualnet.report.runs import Points

__all__ = ["COLOURS", "look", "looks"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: One after the other over curves that coincide; the lengths count in widths of the line.
_STYLES: tuple[Any, ...] = ("-", (0, (3.5, 2.0)), (0, (1.0, 1.4)), (0, (5.0, 1.5, 1.0, 1.5)))
_WIDTH, _WIDTH_BELOW_OTHERS = 1.6, 3.2
_POINT, _RING = 3.2, 3.0
#: Curves coincide that are nearer than this share of what is shown, at this share of the points.
_NEAR, _MOSTLY = 0.008, 0.7


def looks(panels: Sequence[Sequence[Points]], count: int) -> list[dict[str, Any]]:
    """Colour, dashes and width of each run, the same in every panel.

    Args:
        panels: The curves of the panels that are judged by, one a run in each; those coincide that
            do in all of these.
        count: How many runs there are.
    """
    below = [[j for j in range(k) if _coincide(panels, j, k)] for k in range(count)]
    found: list[dict[str, Any]] = []
    levels: list[int] = []
    for k in range(count):
        levels.append(1 + max((levels[j] for j in below[k]), default=-1))
        is_covered = any(k in others for others in below)
        found.append(look(k, levels[k], is_covered, found))
    return found


def look(
    k: int, level: int = 0, is_covered: bool = False, taken: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The look of one curve.

    Args:
        k: Its number, from 0.
        level: How many curves lie below it and coincide with it.
        is_covered: Whether another one lies above it.
        taken: Looks of the curves before it: colour and dashes together are used once.
    """
    colour = COLOURS[k % len(COLOURS)]
    used = [one["linestyle"] for one in taken if one["color"] == colour]
    styles = [_STYLES[(level + turn) % len(_STYLES)] for turn in range(len(_STYLES))]
    style = next((one for one in styles if one not in used), styles[0])
    is_wide = is_covered and style == "-"
    return {
        "color": colour,
        "linestyle": style,
        "linewidth": _WIDTH_BELOW_OTHERS if is_wide else _WIDTH,
        # Points of a curve that others cover show around theirs.
        "markersize": _POINT + (_RING if is_covered else 0.0) - min(level, 2),
    }


def _coincide(panels: Sequence[Sequence[Points]], j: int, k: int) -> bool:
    """Whether two runs have nearly the same curves in each panel where both have any."""
    found = [_is_near(curves[j], curves[k], curves) for curves in panels]
    return True in found and False not in found


def _is_near(one: Points, other: Points, all_: Sequence[Points]) -> Optional[bool]:
    """Whether two curves coincide; None where they cannot be compared."""
    _, here, there = np.intersect1d(one[0], other[0], return_indices=True)
    values, others = one[1][here], other[1][there]
    distances = np.abs(values - others)
    distances = distances[np.isfinite(distances)]
    if distances.size < 2:
        return None
    shown = np.concatenate([points[1] for points in all_])
    low, high = np.percentile(shown[np.isfinite(shown)], (2, 98))
    return bool(np.mean(distances <= _NEAR * (high - low)) >= _MOSTLY)
