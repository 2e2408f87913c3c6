"""What the commands say besides their results: to standard error, so that results can be piped.

That nobody can hear it, because the terminal is closed or the disk full, changes nothing else.
"""

from __future__ import annotations

import os
import sys

__all__ = ["let_go", "say"]


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass  # kept, and tried again with the next line


def let_go() -> None:
    """Before the end: what cannot be said any more must not turn the exit code into 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
