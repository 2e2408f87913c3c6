"""Publish a file whole or not at all: written beside its target, then renamed over it."""

from __future__ import annotations

import errno
import os

from dualnet.fs import Fs

__all__ = ["replace", "write_atomically"]

_SYSTEM = Fs()


def write_atomically(path: str, content: bytes, fs: Fs = _SYSTEM) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        OSError: As the system says; the temporary file is gone then.
    """
    temporary = f"{path}.{os.getpid()}-{fs.random(4).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = fs.open(temporary, flags, 0o666)
        is_open = True
        try:
            left = memoryview(content)
            while left:
                left = left[fs.write(descriptor, left) :]
            fs.fsync(descriptor)
            # Whatever it says, the descriptor is gone: never close it again.
            is_open = False
            fs.close(descriptor)
        finally:
            if is_open:
                fs.close(descriptor)
        fs.rename(temporary, path)
        _sync_directory(path, fs)
    except BaseException:
        _discard(temporary, fs)
        raise


def replace(source: str, target: str, fs: Fs = _SYSTEM) -> None:
    """Give a finished file its name, after its content is on the disk.

    Raises:
        OSError: As the system says; `source` is still there then.
    """
    descriptor = fs.open(source, os.O_RDONLY)
    try:
        fs.fsync(descriptor)
    finally:
        fs.close(descriptor)
    fs.rename(source, target)
    _sync_directory(target, fs)


def _discard(path: str, fs: Fs) -> None:
    try:
        fs.unlink(path)
    except OSError:
        pass  # it has its name already, or the next start removes it


def _sync_directory(path: str, fs: Fs) -> None:
    """Bring the new name to the disk too: without it a crash may take the rename back."""
    descriptor = fs.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        fs.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do this to a directory, and sync renames at once.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        fs.close(descriptor)
