"""The operating system as an object, so that tests can inject faults and a clock of their own.

All file operations and clock reads of the exchange and of checkpoints go through `Fs`. Tests pass
another one: it fails operation number N, writes short, or has a virtual clock that advances only in
`sleep`.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Union

__all__ = ["SYSTEM", "Fs"]

Buffer = Union[bytes, bytearray, memoryview]


class Fs:
    """The real file system and the real clock; each method is one system call.

    Methods raise OSError as the call does. Paths are str, descriptors int.
    """

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open `path` (never inherited by child processes) and return the descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Close; on NFS this is where a failed write shows."""
        os.close(fd)

    def write(self, fd: int, data: Buffer) -> int:
        """Write at most all of `data`; returns how many bytes were taken."""
        return os.write(fd, data)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        """Write at `offset`; returns how many bytes were taken."""
        return os.pwrite(fd, data, offset)

    def readinto(self, fd: int, buffer: memoryview) -> int:
        """Read at most len(buffer) bytes into `buffer`; returns how many, 0 at the end."""
        return os.readv(fd, [buffer])

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        """Read at most `count` bytes from `offset`."""
        return os.pread(fd, count, offset)

    def allocate(self, fd: int, nbytes: int) -> None:
        """Make sure that a file of `nbytes` has its room on the disk."""
        os.posix_fallocate(fd, 0, nbytes)

    def fsync(self, fd: int) -> None:
        """Bring a file or a directory to stable storage."""
        os.fsync(fd)

    def fstat(self, fd: int) -> os.stat_result:
        """Status of an open file."""
        return os.fstat(fd)

    def lstat(self, path: str) -> os.stat_result:
        """Status of a path, symbolic links not followed."""
        return os.lstat(path)

    def statvfs(self, path: str) -> os.statvfs_result:
        """Free space of the file system that holds `path`."""
        return os.statvfs(path)

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source` in one step."""
        os.replace(source, target)

    def link(self, source: str, target: str) -> None:
        """Create `target` as a hard link to `source`; fails where `target` exists."""
        os.link(source, target)

    def unlink(self, path: str) -> None:
        """Remove one name."""
        os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, in no order."""
        return os.listdir(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Create one directory."""
        os.mkdir(path, mode)

    def flock(self, fd: int) -> None:
        """Take an exclusive lock or raise BlockingIOError at once."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def random(self, count: int) -> bytes:
        """`count` random bytes, for names and nonces."""
        return os.urandom(count)

    def sleep(self, duration_s: float) -> None:
        """Wait."""
        time.sleep(duration_s)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps: the only clock that decides anything."""
        return time.monotonic()

    def wall_time(self) -> float:
        """Seconds since 1970, to show to people, never to decide."""
        return time.time()


#: The default: it has no state, so that all can share it.
SYSTEM = Fs()
