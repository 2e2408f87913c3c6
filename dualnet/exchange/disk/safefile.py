"""Opening and reading files that somebody else may have tampered with.

A name in the exchange directory may turn out to be a symbolic link, a FIFO, a directory or another
user's file: none of them may block us or be read.
"""

from __future__ import annotations

import errno
import os
import stat

from dualnet.fs import Fs

__all__ = ["Damaged", "open_regular", "read_exactly", "read_small", "write_all"]

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Damaged(Exception):
    """The file is not (yet) what was announced; the message has the difference."""


def open_regular(fs: Fs, path: str, size: int, exact: bool) -> int:
    """Open our own regular file of the right size for reading.

    Args:
        size: bytes; the file must have exactly or at most that many.

    Raises:
        Damaged: a link, FIFO, directory, somebody else's file or a wrong size.
        FileNotFoundError: not there.
        OSError: from the file system.
    """
    try:
        fd = fs.open(path, _READ_FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Damaged(f"not a regular file ({os.strerror(error.errno)})") from error
        raise
    try:
        status = fs.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged("not a regular file")
        if status.st_uid != os.geteuid():
            raise Damaged(f"belongs to user {status.st_uid}, not to {os.geteuid()}")
        if status.st_size > size or (exact and status.st_size != size):
            raise Damaged(
                f"{status.st_size} bytes long, expected {'' if exact else 'at most '}{size}"
            )
    except BaseException:
        fs.close(fd)
        raise
    return fd


def read_exactly(fs: Fs, fd: int, buffer: memoryview) -> None:
    """Fill `buffer` from an open file.

    Raises:
        Damaged: the file ends before.
        OSError: from the file system.
    """
    done = 0
    while done < len(buffer):
        count = fs.readinto(fd, buffer[done:])
        if count == 0:
            raise Damaged(f"ends {len(buffer) - done} bytes early")
        done += count


def read_small(fs: Fs, path: str, limit: int) -> bytes:
    """Read a whole small file of ours.

    Args:
        limit: most bytes allowed.

    Raises:
        Damaged, FileNotFoundError, OSError: as `open_regular`.
    """
    fd = open_regular(fs, path, limit, exact=False)
    try:
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            part = fs.pread(fd, limit + 1 - size, size)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
    finally:
        fs.close(fd)
    raise Damaged(f"grew beyond {limit} bytes")


def write_all(fs: Fs, fd: int, data: memoryview) -> None:
    """Write all of `data`, however little each call takes.

    Raises:
        OSError: from the file system; EIO if it takes nothing without saying why.
    """
    done = 0
    while done < len(data):
        count = fs.write(fd, data[done:])
        if count <= 0:
            raise OSError(errno.EIO, "write took no bytes")
        done += count
