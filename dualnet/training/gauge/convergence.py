"""Convergence criterion: the thesis's "until some convergence criterion is met" (8).

Smoothed losses are compared: the mean over the last `window` iterations with that over the `window`
before. The piece with the classification loss decides and sends the result with its answer, so that
all pieces end after the same iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from dualnet.config import Convergence

__all__ = ["has_converged", "relative_residual"]


def has_converged(
    settings: Convergence, losses: Sequence[float], residual: Optional[float] = None
) -> bool:
    """Whether training may end.

    Args:
        settings: The criterion.
        losses: The latest losses, oldest first; fewer than two windows are never enough.
        residual: |x - z| / |x| of the previous iteration, if known.
    """
    window = settings.window
    if not window or len(losses) < 2 * window:
        return False
    if settings.residual is not None and (residual is None or residual >= settings.residual):
        return False
    recent = list(losses)[-2 * window :]
    earlier, later = float(np.mean(recent[:window])), float(np.mean(recent[window:]))
    return earlier - later < settings.tolerance * abs(earlier)


def relative_residual(x: np.ndarray, z: np.ndarray) -> float:
    """|x - z| / |x|, both (N, C, H, W); 0 where x is zero."""
    length = float(np.linalg.norm(np.asarray(x, np.float64)))
    distance = float(np.linalg.norm(np.asarray(x, np.float64) - z))
    return distance / length if length else 0.0
