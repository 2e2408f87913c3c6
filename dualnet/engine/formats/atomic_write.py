"""Writing a file so that readers see all of it or nothing."""

from __future__ import annotations

import os

from dualnet.engine.errors import DataError
from dualnet.engine.formats.prototxt import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that readers see all of it or nothing.

    The engine's own copy of `dualnet.atomic`, which it must not import, with its own error type.

    Raises:
        DataError: it cannot be written; an older file of that name is left as it was.
    """
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise DataError(f"cannot write '{os.fspath(path)}': {error.strerror}") from error
