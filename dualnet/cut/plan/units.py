"""Numbers for people: milliseconds, MiB and counts with as many digits as say something."""

from __future__ import annotations

__all__ = ["count", "mib", "ms"]


def ms(seconds: float) -> str:
    """Milliseconds, without the unit."""
    return _three(seconds * 1e3)


def mib(size: float) -> str:
    """MiB of a number of bytes, without the unit."""
    return _three(size / 2**20)


def count(number: int) -> str:
    """As `57.1k`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
