"""The largest number that still fits, in few tries."""

from __future__ import annotations

from typing import Callable, Optional

__all__ = ["largest"]

#: Tries between two bounds that go where the line through the last peaks points; then bisection.
_GUESSES = 4


def largest(
    peak: Callable[[int], Optional[float]],
    start: int,
    limit: Optional[float] = None,
    resolution: float = 0.01,
) -> int:
    """Double until it does not fit, then close in.

    Args:
        peak: A batch's peak memory; None if it does not fit.
        start: The first batch; where it does not fit, halves of it are tried.
        limit: In the same unit as `peak`; without it there is nothing to guess from, and the
            bounds are bisected.
        resolution: Ends when the bounds are nearer than this share of the batch.

    Returns:
        The largest batch that was seen to fit; 0 if not even 1 does.
    """
    fitting: dict[int, float] = {}

    def fits(batch: int) -> bool:
        found = peak(batch)
        if found is not None:
            fitting[batch] = found
        return found is not None

    low, high = 0, start
    while fits(high):
        low, high = high, 2 * high
    if low == 0:
        while high > 1 and not fits(high // 2):
            high //= 2
        low = high // 2
    tries = 0
    while low and high - low > (gap := max(1, int(low * resolution))):
        middle = (low + high) // 2
        if limit is not None and len(fitting) > 1 and tries < _GUESSES:
            guess = _extrapolated(fitting, limit)
            # Beyond a batch that did not fit: peak memory is not linear here, bisect instead.
            middle = max(guess, low + gap) if guess < high - gap else middle
            tries += 1
        middle = min(max(middle, low + 1), high - 1)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _extrapolated(fitting: dict[int, float], limit: float) -> int:
    """Where the line through the two largest batches' peaks meets the limit."""
    (b1, p1), (b2, p2) = sorted(fitting.items())[-2:]
    slope = max((p2 - p1) / (b2 - b1), 1e-9)
    return int(min(b2 + (limit - p2) / slope, 2.0**31))
