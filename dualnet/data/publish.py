"""Atomic writes of whole directories and large files: complete under their final name, or absent.

Separate from dualnet/atomic.py, which writes one file from memory: data sets are directories, and
their files are written by libraries, block by block.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dualnet.errors import StorageFailed, UsageError

__all__ = [
    "new_directory",
    "new_file",
    "publish",
    "refuse_existing",
    "scratch_directory",
    "storage_error",
]

#: errno values that mean "the disk, or the quota, is full".
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to write over what exists.

    Args:
        path: What is about to be written.
        force: Whether the user asked to replace it.

    Raises:
        UsageError: `path` exists and `force` is not given.
    """
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already: give --force to replace it, or another -o DIR")


def storage_error(path: Path, doing: str, error: Exception) -> StorageFailed:
    """Turn a failed write into one line that says where, why and how much room is left.

    Args:
        path: What was being written.
        doing: What was being done, as "write the database".
        error: The exception that the operating system or LMDB raised.

    Returns:
        The exception to raise.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if _is_full(error):
        remedy = "free some space there, or give another -o DIR"
    elif os.strerror(errno.EIO) in str(error):
        # LMDB reports this when only a part of a write fitted (mdb.c, mdb_page_flush).
        remedy = "a full disk or quota shows like this; free some space, or give another -o DIR"
    else:
        remedy = "check the path and its permissions, or give another -o DIR"
    return StorageFailed(f"cannot {doing} {path} ({reason}; {_room_left(path)}): {remedy}")


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(os.strerror(code) in str(error) for code in _FULL)  # lmdb.Error keeps no errno


def _room_left(path: Path) -> str:
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB are free"
    except OSError:  # the answer is only part of an error message, which matters more
        return "free space unknown"


def _beside(path: Path) -> Path:
    """A name in the same directory, hence file system, that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """Make an empty directory beside `path`, and remove it when the block ends, however it ends.

    Args:
        path: What is going to be published from there. Missing parents are made.

    Yields:
        The directory, on the same file system as `path`.

    Raises:
        StorageFailed: It cannot be made.
    """
    # Not tempfile.mkdtemp: its mode 0700 would stay, and other users read data sets too.
    scratch = _beside(Path(path))
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise storage_error(path, "make the directory", error) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish(finished: Path, path: Path, force: bool = False) -> None:
    """Give a finished file or directory its final name.

    Args:
        finished: What to rename, on the same file system as `path`.
        path: The final name.
        force: Replace what is there.

    Raises:
        UsageError: `path` exists and `force` is not given.
        StorageFailed: It cannot be renamed.
    """
    refuse_existing(path, force)
    try:
        if not path.is_dir() or path.is_symlink():
            os.replace(finished, path)
            return
        # rename() cannot replace a directory that is not empty, so the old one steps aside first.
        aside = _beside(path)
        os.rename(path, aside)
        try:
            os.rename(finished, path)
        except OSError:
            os.rename(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise storage_error(path, "give its final name to", error) from error


@contextmanager
def new_directory(path: str | Path, force: bool = False) -> Iterator[Path]:
    """Fill a directory under a temporary name and rename it when the block ends well.

    Args:
        path: The final name. Missing parents are made.
        force: Replace what is there.

    Yields:
        The empty temporary directory to fill; it is removed if the block raises.

    Raises:
        UsageError: `path` exists and `force` is not given.
        StorageFailed: The directory cannot be made or renamed.
    """
    path = Path(path)
    refuse_existing(path, force)
    with scratch_directory(path) as scratch:
        yield scratch
        publish(scratch, path, force)  # checks again: it may have been made in the meantime


@contextmanager
def new_file(path: str | Path, force: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when the block ends well.

    Args:
        path: The final name. Missing parents are made.
        force: Replace a file that is there.

    Yields:
        The temporary path to write; what is there is removed if the block raises.

    Raises:
        UsageError: `path` exists and `force` is not given.
        StorageFailed: The file cannot be written or renamed.
    """
    path = Path(path)
    refuse_existing(path, force)
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        publish(temporary, path, force)
    except OSError as error:
        raise storage_error(path, "write", error) from error
    finally:
        if temporary.exists():
            temporary.unlink()
