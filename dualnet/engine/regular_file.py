"""Opening files by name where the name may turn out to be something else.

Opening a FIFO waits until somebody writes to it, and a device like /dev/zero never ends: a run
directory, a data set or a checkout from elsewhere may hold either, or a link to one.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["read_at_most", "regular_only"]


def regular_only(path: str, flags: int) -> int:
    """An opener for `open(path, mode, opener=regular_only)`; links are followed.

    Returns:
        The descriptor, which child processes do not inherit.

    Raises:
        OSError: As the system says; EINVAL for what is no regular file, EISDIR for a directory.
    """
    try:
        # A FIFO then opens at once, or fails with ENXIO if it is to be written; regular files
        # take no notice of the flag.
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.EINVAL, "not a regular file", path) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "not a regular file", path)


def read_at_most(path: str, limit: int) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        limit: Bytes; a longer file is refused before memory is taken for it.

    Raises:
        OSError: As `regular_only`; EFBIG for a longer file.
    """
    with open(path, "rb", opener=regular_only) as file:
        # Not the size that fstat states: the file may grow meanwhile.
        content = file.read(limit + 1) if os.fstat(file.fileno()).st_size <= limit else None
    if content is None or len(content) > limit:
        raise OSError(errno.EFBIG, f"longer than {limit} bytes", path)
    return content
