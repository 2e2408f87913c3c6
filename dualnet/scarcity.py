"""Is an error the machine's want of memory, or of open files? Libraries say so in many ways."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Optional

__all__ = ["is_scarcity", "lacks_files"]

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


#: The same of files that may be open.
_FILES = "too many open files"


def is_scarcity(error: BaseException) -> bool:
    """Whether memory, or room for another thread or process, was refused.

    Args:
        error: what was raised; the errors that it was raised from count, too.
    """
    return any(
        isinstance(link, MemoryError) or _says(link, (errno.ENOMEM,), _PHRASES)
        for link in _chain(error)
    )


def lacks_files(error: BaseException) -> bool:
    """Whether another open file was refused; argument as of `is_scarcity`."""
    codes = (errno.EMFILE, errno.ENFILE)
    return any(_says(link, codes, (_FILES,)) for link in _chain(error))


def _says(error: BaseException, codes: tuple[int, ...], phrases: tuple[str, ...]) -> bool:
    if isinstance(error, OSError):
        return error.errno in codes
    if not isinstance(error, (RuntimeError, ImportError)):
        return False
    return any(phrase in str(error).lower() for phrase in phrases)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    link: Optional[BaseException] = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
