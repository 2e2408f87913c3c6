"""Publish a file whole or not at all: written beside its target, then renamed over it."""

from __future__ import annotations

import errno
import os
import uuid

__all__ = ["replace", "write_atomically"]


def write_atomically(path: str, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        OSError: As the system says; the temporary file is gone then.
    """
    temporary = f"{path}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def replace(source: str, target: str) -> None:
    """Give a finished file its name, after its content is on the disk.

    Raises:
        OSError: As the system says; `source` is still there then.
    """
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(source, target)
    _sync_directory(target)


def _sync_directory(path: str) -> None:
    """Bring the new name to the disk too: without it a crash may take the rename back."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do this to a directory, and sync renames at once.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
