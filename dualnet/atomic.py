"""Atomic writes of single files: written beside the target, synced, then renamed over it."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Optional

from dualnet.engine.formats.regular_file import check_data
from dualnet.fs import SYSTEM, Fs

__all__ = [
    "create_atomically",
    "read_blocks",
    "read_whole",
    "replace",
    "write_atomically",
    "write_together",
]

_BLOCK_BYTES = 1 << 20


def write_atomically(path: str, content: bytes, fs: Fs = SYSTEM, prefix: str = "") -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Args:
        path: The file.
        content: All of it.
        fs: All I/O.
        prefix: Path that the temporary file's name begins with, default the file's own: by it the
            next start of a piece finds what a killed one left of a file that all pieces share.

    Raises:
        OSError: As the system says; the temporary file is gone then.
    """
    _write(path, content, lambda temporary: fs.rename(temporary, path), fs, prefix)


def create_atomically(path: str, content: bytes, fs: Fs = SYSTEM, prefix: str = "") -> None:
    """Write a file unless it exists; of several processes, on several nodes, one succeeds.

    The arguments are those of `write_atomically`.

    Raises:
        OSError: As the system says.
    """

    def publish(temporary: str) -> None:
        try:
            fs.link(temporary, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            if not os.path.lexists(path):  # no hard links on this file system: a race remains
                fs.rename(temporary, path)
                return
        fs.unlink(temporary)

    _write(path, content, publish, fs, prefix)


def _write(path: str, content: bytes, publish: Callable[[str], None], fs: Fs, prefix: str) -> None:
    """Write beside `path` and let `publish` give the file its name."""
    unique = f"{os.getpid()}-{fs.random(4).hex()}"
    temporary = f"{path}.{unique}.tmp"
    if prefix:
        temporary = f"{prefix}.{os.path.basename(path)}.{unique}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = fs.open(temporary, flags, 0o666)
        is_open = True
        try:
            left = memoryview(content)
            while left:
                left = left[fs.write(descriptor, left) :]
            fs.fsync(descriptor)
            # close() releases the descriptor even if it fails (Linux): do not close it again.
            is_open = False
            fs.close(descriptor)
        finally:
            if is_open:
                fs.close(descriptor)
        publish(temporary)
        _sync_directory(path, fs)
    except BaseException:
        _discard(temporary, fs)
        raise


def read_whole(path: str, fs: Fs = SYSTEM, limit: Optional[int] = None) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        fs: All I/O.
        limit: Bytes; a longer file is refused before memory is taken for it.

    Raises:
        OSError: As the system says; EFBIG for a longer file.
    """
    blocks, length = [], 0
    for block in read_blocks(path, fs):
        length += len(block)
        if limit is not None and length > limit:
            raise OSError(errno.EFBIG, f"longer than {limit} bytes", path)
        blocks.append(block)
    return b"".join(blocks)


def read_blocks(path: str, fs: Fs = SYSTEM) -> Iterator[bytes]:
    """The content of a file, block by block.

    Raises:
        OSError: As the system says; EINVAL for a device or pipe, and for a file that is almost all
            hole.
    """
    descriptor = fs.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = fs.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        check_data(descriptor, found.st_size, path)
        offset = 0
        while True:
            block = fs.pread(descriptor, _BLOCK_BYTES, offset)
            if not block:
                return
            yield block
            offset += len(block)
    finally:
        fs.close(descriptor)


def replace(source: str, target: str, fs: Fs = SYSTEM) -> None:
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


def write_together(contents: Mapping[str, bytes], force: bool = False) -> None:
    """Write several files that belong together: all of them, or none.

    Args:
        contents: Path to content.
        force: Replace files that are there; else they are an error.

    Raises:
        FileExistsError: One is there and `force` is not given; its `filename` says which.
        OSError: As the system says; what was there before is there again.
    """
    suffix = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    aside = {path: f"{path}.{suffix}.old" for path in contents}
    temporary = {path: f"{path}.{suffix}.tmp" for path in contents}
    for path in contents:
        if os.path.lexists(path) and not force:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    done = []
    try:
        for path, content in contents.items():
            write_atomically(temporary[path], content)
        for path in contents:
            done.append(path)
            if os.path.lexists(path):
                os.rename(path, aside[path])
            replace(temporary[path], path)
    except BaseException:
        for path in done:
            if os.path.lexists(aside[path]):
                os.replace(aside[path], path)
            elif not os.path.lexists(temporary[path]) and os.path.lexists(path):
                os.unlink(path)
        raise
    finally:
        for path in (*temporary.values(), *aside.values()):
            if os.path.lexists(path):
                os.unlink(path)


def _discard(path: str, fs: Fs) -> None:
    try:
        fs.unlink(path)
    except OSError:
        pass  # it is renamed already, or the next start removes it


def _sync_directory(path: str, fs: Fs) -> None:
    """Sync the directory: without that a crash of the machine may undo the rename."""
    descriptor = fs.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        fs.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory; they sync renames at once.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        fs.close(descriptor)
