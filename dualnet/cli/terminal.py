"""What the commands say besides their results: to standard error, so that results can be piped."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    print(line, file=sys.stderr, flush=True)
