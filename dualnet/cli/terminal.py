"""Messages for people, on standard error, so that results can be piped.

One that cannot be printed, because the terminal is closed or the disk full, is ignored.
"""

from __future__ import annotations

import os
import sys

__all__ = ["flush_or_discard_stderr", "say"]


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass  # kept, and tried again with the next line


def flush_or_discard_stderr() -> None:
    """Flush standard error at exit, or discard what is left: else Python would exit with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
