"""How the process keeps its memory, on the CPU.

A layer's large result is freed in every step and asked for again in the next. The C library hands
blocks that large back to the system, which then zeroes and maps each of their pages again: up to a
third of a training step (CIFAR-10 net, batch 256, two cores of an AMD EPYC). With mallopt they stay
in the heap and are reused at no cost. Results do not depend on it.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_blocks"]

# malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1

_done = False


def keep_freed_blocks() -> bool:
    """Lets the C library keep freed blocks of any size for the next request, in this whole process.

    A user's own settings of malloc (`MALLOC_…` or `GLIBC_TUNABLES` in the environment) win.

    Returns:
        Whether it does so now: not where the user decided, nor without the GNU C library.
    """
    global _done
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if not _done and not chosen and "GLIBC_TUNABLES" not in os.environ:
        try:
            mallopt = ctypes.CDLL(None).mallopt
            mapped = mallopt(_M_MMAP_MAX, 0)
            _done = bool(mapped and mallopt(_M_TRIM_THRESHOLD, _NEVER))
        except (AttributeError, OSError):
            pass  # no mallopt in this C library: results are the same, only slower
    return _done
