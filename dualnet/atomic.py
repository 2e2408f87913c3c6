"""Publish a file whole or not at all: written beside its target, then renamed over it."""

from __future__ import annotations

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
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def replace(source: str, target: str) -> None:
    """Give a finished file its name, after its content is on the disk."""
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(source, target)
