"""Records that are sealed with their own SHA-256, and the files whose SHA-256 they state.

The record of a checkpoint is read here and not in train/checkpoint, for nets ask whether weights
that they begin with are whole, and reports whether a run is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Callable, TypeVar, Union

from dualnet.atomic import read_blocks, read_whole
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import Snapshot

__all__ = [
    "RECORD_VERSION",
    "damage",
    "damage_of",
    "digest_file",
    "with_retries",
    "read_record",
    "seal",
]

T = TypeVar("T")

#: Of a checkpoint's record.
RECORD_VERSION = 1
#: Of a record, in bytes; the losses of a window of a million iterations take 20 MB.
_LIMIT_BYTES = 64 << 20

#: Retry delays in seconds: a short failure of the file server must not make a good checkpoint look
#: damaged.
_PAUSES_S = (0.1, 0.4, 1.6)
#: Errors that are not retried.
_FINAL = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EFBIG,
)  # fmt: skip


def damage(directory: str, files: Mapping[str, str], fs: Fs = SYSTEM) -> str:
    """What is wrong with recorded files, "" if nothing is.

    Args:
        directory: Where they are.
        files: Name to SHA-256 in hex.
        fs: All I/O.
    """
    for name, expected in files.items():
        path = os.path.join(directory, os.path.basename(name))
        try:
            found = with_retries(partial(digest_file, path, fs), fs)
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != expected:
            return f"{name} has SHA-256 {found[:16]}…, recorded is {str(expected)[:16]}…"
    return ""


def damage_of(path: str, fs: Fs = SYSTEM) -> str:
    """What is wrong with one file of a checkpoint, "" if it is whole or no record knows it.

    Args:
        path: Any file; a checkpoint's may have a record beside it.
        fs: All I/O.
    """
    directory, name = os.path.split(path)
    snapshot = Snapshot.of(path)
    found = read_record(snapshot.record, fs) if snapshot is not None else ""
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict) or name not in files:
        return ""
    return damage(directory, {name: str(files[name])}, fs)


def read_record(path: str, fs: Fs = SYSTEM) -> Union[dict[str, Any], str]:
    """The fields of a checkpoint's record, as their seal says, or what is wrong with it."""
    try:
        fields = json.loads(with_retries(lambda: read_whole(path, fs, _LIMIT_BYTES), fs).decode())
        if fields.pop("version") != RECORD_VERSION:
            return "written by another version of dualnet"
        if fields.pop("sha256") != seal(fields):
            return "its record is damaged"
        return dict(fields)
    except OSError as error:
        return f"{error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "its record is damaged"


def seal(fields: dict[str, Any]) -> str:
    """The digest of a record's own fields, which stands in it as `sha256`."""
    return digest([json.dumps(fields, sort_keys=True, allow_nan=False).encode()])


def digest_file(path: str, fs: Fs = SYSTEM) -> str:
    """A file's SHA-256 in hex. Raises OSError as the system says."""
    return digest(read_blocks(path, fs))


def digest(blocks: Iterable[bytes]) -> str:
    """The SHA-256 of some bytes, in hex."""
    total = hashlib.sha256()
    for block in blocks:
        total.update(block)
    return total.hexdigest()


def with_retries(read: Callable[[], T], fs: Fs = SYSTEM) -> T:
    """Call `read`; retry after 0.1, 0.4 and 1.6 s on errors that may be transient.

    Raises:
        OSError: ENOENT and the like at once, others after the last try.
    """
    for pause_s in _PAUSES_S:
        try:
            return read()
        except OSError as error:
            if error.errno in _FINAL:
                raise
            fs.sleep(pause_s)
    return read()
