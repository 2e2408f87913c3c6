"""Lists of processor cores as batch systems write them, `0-3,8`, and what follows from them."""

from __future__ import annotations

import os
import re

__all__ = ["parse_cores", "thread_count"]

_PART = re.compile(r"(\d+)(?:-(\d+))?")


def parse_cores(text: str) -> set[int]:
    """The numbers in a list as `0-3,8`.

    Raises:
        ValueError: It is no such list.
    """
    cores: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is neither a number nor a range as 0-3")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise ValueError(f"{part.strip()}: ends before it begins")
        cores.update(range(first, last + 1))
    return cores


def thread_count(cores: str, threads: int) -> int:
    """How many threads a piece computes with.

    Args:
        cores: Those that it is bound to, "" for all that this process may use.
        threads: The number that was asked for; 0: as many as cores.
    """
    return threads or len(parse_cores(cores) if cores else os.sched_getaffinity(0))
