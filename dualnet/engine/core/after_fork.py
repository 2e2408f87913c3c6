"""Nets in processes that are forked from one which has run nets.

PyTorch computes with a pool of OpenMP threads that is kept between two calls. A forked process
inherits the record of that pool but none of its threads, and would wait for them for ever. So it
computes with one thread, which needs no pool, unless its parent never had one.
"""

from __future__ import annotations

import os

import torch

__all__ = ["note_use"]

_is_used = False


def note_use() -> None:
    """Call it before this process computes anything."""
    global _is_used
    _is_used = True


def _in_child() -> None:
    if _is_used:
        torch.set_num_threads(1)


os.register_at_fork(after_in_child=_in_child)
