"""Recognises errors of any library that mean: no memory, open files or disk space left."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Optional

__all__ = ["disk_fault", "is_scarcity", "lacks_files"]

#: Parts of messages: of Python for a thread whose stack has no room, of the system as libraries
#: pass it on (a database, a module that is loaded, oneDNN), of PyTorch's allocators, C++'s, CUDA's.
_PHRASES = (
    "can't start new thread",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "could not create a primitive",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
)


#: The same for open files.
_FILES = "too many open files"
_NO_FILES = (errno.EMFILE, errno.ENFILE)
#: Errors of the disk itself, not of a file's name or content.
_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, *_NO_FILES)


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
    """Whether the limit of open files was reached; argument as of `is_scarcity`."""
    return any(_says(link, _NO_FILES, (_FILES,)) for link in _chain(error))


def disk_fault(error: BaseException) -> Optional[OSError]:
    """The disk error behind an error, None if there is none.

    Args:
        error: as for `is_scarcity`.

    Returns:
        An OSError to raise in its place: a full or failing disk is no configuration error, and can
        be retried.
    """
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _FAULTS:
            return OSError(link.errno, os.strerror(link.errno), link.filename)
        if type(link).__module__ == "lmdb":  # keeps no errno
            for code in _FAULTS:
                if os.strerror(code) in str(link):
                    return OSError(code, os.strerror(code))
    return None


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
