"""Files against the SHA-256 that a record states of them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Callable, TypeVar

from dualnet.atomic import read_blocks
from dualnet.fs import SYSTEM, Fs

__all__ = ["damage", "digest", "digest_file", "patiently"]

T = TypeVar("T")

#: Pauses between tries to read what the disk refuses to give: a server that is busy for a moment
#: must not cost the checkpoint that it keeps.
_PAUSES_S = (0.1, 0.4, 1.6)
#: Errors that no second try mends.
_FINAL = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EFBIG,
)  # fmt: skip


def damage(directory: str, files: Mapping[str, str], fs: Fs = SYSTEM) -> str:
    """What is wrong with recorded files, "" if nothing is.

    Args:
        directory: Where they are.
        files: Name to SHA-256 in hex.
        fs: All I/O.
    """
    for name, expected in files.items():
        path = os.path.join(directory, os.path.basename(name))
        try:
            found = patiently(partial(digest_file, path, fs), fs)
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != expected:
            return f"{name} has SHA-256 {found[:16]}…, recorded is {str(expected)[:16]}…"
    return ""


def digest_file(path: str, fs: Fs = SYSTEM) -> str:
    """A file's SHA-256 in hex. Raises OSError as the system says."""
    return digest(read_blocks(path, fs))


def digest(blocks: Iterable[bytes]) -> str:
    """The SHA-256 of some bytes, in hex."""
    total = hashlib.sha256()
    for block in blocks:
        total.update(block)
    return total.hexdigest()


def patiently(read: Callable[[], T], fs: Fs = SYSTEM) -> T:
    """What `read` returns, tried again where the disk may think better of it."""
    for pause_s in _PAUSES_S:
        try:
            return read()
        except OSError as error:
            if error.errno in _FINAL:
                raise
            fs.sleep(pause_s)
    return read()
