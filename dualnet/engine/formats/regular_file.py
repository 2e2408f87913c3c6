"""Opening files by names that may belong to something other than a regular file.

Opening a FIFO waits until somebody writes to it, and a device like /dev/zero never ends: a run
directory, a data set or a checkout from elsewhere may hold either, or a link to one. It may also
hold a sparse file of a terabyte, which takes no room on the disk, and hours or all memory to read.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["check_data", "read_at_most", "regular_only"]

#: Files up to this length are read whatever they hold: that takes a second at most.
_SHORT_BYTES = 256 << 20
#: A longer file has at least this part of its length in data; copies may have holes for zeros.
_DATA_PART = 1 / 1024
#: At most so many extents of data are counted.
_PIECES = 4096


def regular_only(path: str, flags: int) -> int:
    """An opener for `open(path, mode, opener=regular_only)`; links are followed.

    Returns:
        The descriptor, which child processes do not inherit.

    Raises:
        OSError: As the system says; EINVAL for what is no regular file and, if it is to be read,
            for one that is almost all hole; EISDIR for a directory.
    """
    descriptor = _open(path, flags)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        try:
            check_data(descriptor, os.fstat(descriptor).st_size, path)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _open(path: str, flags: int) -> int:
    """A regular file's descriptor, however long the file is."""
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


def check_data(descriptor: int, size: int, path: str) -> None:
    """Checks that a file is not almost all hole, where the file system can tell.

    Args:
        descriptor: Of the file, open at its beginning.
        size: Its length in bytes.
        path: What to call it.

    Raises:
        OSError: EINVAL, it is.
    """
    if size <= _SHORT_BYTES:
        return
    data = end = 0
    try:
        for _ in range(_PIECES):
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, begin, os.SEEK_HOLE)
            data += end - begin
            if end >= size or data >= size * _DATA_PART:
                break
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is no more data
            return  # this file system cannot say
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    if data < size * _DATA_PART:
        raise OSError(errno.EINVAL, f"{size} bytes long, and almost all of it is a hole", path)


def read_at_most(path: str, limit: int) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        limit: Bytes; a longer file is refused before memory is taken for it.

    Raises:
        OSError: As `regular_only`; EFBIG for a longer file.
    """
    with open(path, "rb", opener=_open) as file:
        # Not the size that fstat states: the file may grow meanwhile.
        content = file.read(limit + 1) if os.fstat(file.fileno()).st_size <= limit else None
    if content is None or len(content) > limit:
        raise OSError(errno.EFBIG, f"longer than {limit} bytes", path)
    return content
