"""Is an error the machine's want of memory? Libraries say so in many ways."""

from __future__ import annotations

import errno

__all__ = ["is_scarcity"]

#: Parts of messages: of Python for a thread whose stack has no room, of the system as libraries
#: pass it on (a database, a module that is loaded), of PyTorch's allocators, C++'s, and CUDA's.
_PHRASES = (
    "can't start new thread",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
)


def is_scarcity(error: BaseException) -> bool:
    """Whether memory, or room for another thread or process, was refused.

    Args:
        error: what was raised; the errors that it was raised from count, too.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, MemoryError):
            return True
        if isinstance(link, OSError) and link.errno == errno.ENOMEM:
            return True
        has_words = isinstance(link, (RuntimeError, ImportError))
        if has_words and any(phrase in str(link).lower() for phrase in _PHRASES):
            return True
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return False
