"""Durations for people, in the unit that suits them."""

from __future__ import annotations

__all__ = ["in_time"]


def in_time(seconds: float) -> str:
    """As "12 s", "5 min", "2 h 10 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 and minutes else f"{hours} h"
