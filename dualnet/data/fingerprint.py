"""What data hold, in a line that is cheap to make however large they are.

Equal lines mean equal data as far as the line sees; names, places and dates play no part, so that
data which were moved or made again are the same. What each kind reads, and cannot detect:

- one file (mean, weights, matrix): all of it;
- LMDB: the number of records, and keys and values of the first, the last and up to 64 spread evenly
  between, by key. Not a change of other records that leaves their number as it was;
- LevelDB: size and parts of its tables. Not the same; equal records in other tables differ;
- a list of images or windows: the list, without the directory that all paths begin with, and 16 of
  the images spread evenly. Not another content of the other images;
- a list of HDF5 files: the size of each, and parts of 16 of them. Not what lies between the parts;
- parts of a file: its size and 64 pieces of 4 KiB spread evenly; up to 1 MiB all of it.

What is missing, damaged or not ours to read makes a line, too. A disk that fails is an OSError.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence

from dualnet.data.databases.lmdb_pages import LmdbPages, NotLmdb
from dualnet.engine.formats.regular_file import regular_only
from dualnet.recorded import digest_file
from dualnet.scarcity import disk_fault

__all__ = [
    "MISSING",
    "of_database",
    "of_file",
    "of_hdf5_list",
    "of_image_list",
    "of_window_file",
]

#: Fingerprint of data that are missing.
MISSING = "missing"

_RECORDS, _FILES = 64, 16
_PIECES, _PIECE_BYTES, _WHOLE_BYTES = 64, 4096, 1 << 20
_DIGITS = re.compile(rb"\d+")
#: In a window file: the line after `# NUMBER` is the path of an image.
_WINDOW_PATH = re.compile(rb"(?m)^(#[ \t]*\d+[ \t]*\r?\n[ \t]*)(\S+)")


def of_file(path: str) -> str:
    """A file as a whole: `SHA-256 …`, or what keeps it from being read."""
    return _or_reason(lambda: f"SHA-256 {digest_file(path)}")


def of_database(path: str) -> str:
    """An LMDB, directory or file, or a LevelDB, by some of its records or tables."""

    def read() -> str:
        names = sorted(os.listdir(path)) if os.path.isdir(path) else ["data.mdb"]
        if "data.mdb" in names:
            return _of_lmdb(path)
        # Not the LOG and MANIFEST of when and how it was made.
        tables = [name for name in names if name.endswith((".ldb", ".sst", ".log"))]
        if not tables:
            return MISSING
        return _of_files([os.path.join(path, name) for name in tables])

    return _or_reason(read)


def of_hdf5_list(path: str) -> str:
    """The HDF5 files that a list names, in its order."""

    def read() -> str:
        names = [os.fsdecode(name) for name in _read(path).split()]
        return _of_files(names)

    return _or_reason(read)


def of_image_list(path: str, root: str) -> str:
    """A list of `PATH LABEL` lines, and some of its images.

    Args:
        path: The list.
        root: What is put before each path, as it is.
    """

    def read() -> str:
        lines = _read(path).splitlines()
        common = _common_directory(lines)
        images = [root + os.fsdecode((line.rsplit(None, 1) or [b""])[0]) for line in lines]
        listed = hashlib.sha256(b"\n".join(line[len(common) :] for line in lines)).digest()
        return f"{len(lines)} lines, SHA-256 {_hash([listed, *_some_files(images)]).hex()}"

    return _or_reason(read)


def of_window_file(path: str, root: str) -> str:
    """WindowData's source, and some of its images.

    Args:
        path: The file.
        root: What is put before each image's path, with a slash.
    """

    def read() -> str:
        content = _read(path)
        paths = [match.group(2) for match in _WINDOW_PATH.finditer(content)]
        start = len(_common_directory(paths))
        short = _WINDOW_PATH.sub(lambda found: found.group(1) + found.group(2)[start:], content)
        images = [os.path.join(root, os.fsdecode(name)) for name in paths]
        listed = hashlib.sha256(short).digest()
        return f"{len(paths)} images, SHA-256 {_hash([listed, *_some_files(images)]).hex()}"

    return _or_reason(read)


def _or_reason(read: Callable[[], str]) -> str:
    """The result of `read`, or in words why the data cannot be read."""
    try:
        return read()
    except FileNotFoundError:
        return MISSING
    except NotLmdb as error:
        return f"damaged ({error})"
    except OSError as error:
        if disk_fault(error) is not None:
            raise  # a disk that fails for a moment makes no other data
        return f"unreadable ({error.strerror})"


def _of_lmdb(path: str) -> str:
    with LmdbPages(path) as database:
        count = database.entries
        if not count:
            return "0 records"
        records = [database.first(), database.last()]
        for key in _between(records[0][0], records[1][0]):
            records.append(database.at(key))
        digest = _hash(part for record in sorted(set(records)) for part in record)
    return f"{count} records, SHA-256 of some {digest.hex()}"


def _between(first: bytes, last: bytes) -> list[bytes]:
    """Keys spread evenly between two; none of them need exist.

    Caffe's converters begin them with the running number in decimal.
    """
    found = _DIGITS.match(first), _DIGITS.match(last)
    width = found[0].end() if found[0] else 0
    if found[0] and found[1] and width == found[1].end():
        low, high = int(found[0].group()), int(found[1].group())
        numbers = _spread(high - low + 1, _RECORDS)
        # The key that begins with the number itself lies before this.
        return [b"%0*d\xff" % (width, low + number) for number in numbers]
    width = max(len(first), len(last), 8)
    low, high = (int.from_bytes(key.ljust(width, b"\0"), "big") for key in (first, last))
    return [(low + part).to_bytes(width, "big") for part in _spread(high - low + 1, _RECORDS)]


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [number * (count - 1) // (most - 1) for number in range(most)]


def _of_files(paths: Sequence[str]) -> str:
    sizes = b" ".join(b"%d" % os.stat(path).st_size for path in paths)
    return f"{len(paths)} files, SHA-256 of parts {_hash([sizes, *_some_files(paths)]).hex()}"


def _some_files(paths: Sequence[str]) -> Iterable[bytes]:
    """Digests of parts of some of the files, evenly; one that is not there says so."""
    for number in _spread(len(paths), _FILES):
        try:
            yield _hash(_pieces(paths[number]))
        except OSError as error:
            if disk_fault(error) is not None:
                raise
            yield MISSING.encode()


def _pieces(path: str) -> Iterable[bytes]:
    with open(path, "rb", opener=regular_only) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _WHOLE_BYTES:
            yield file.read()
            return
        yield b"%d" % size
        for number in _spread(size - _PIECE_BYTES + 1, _PIECES):
            file.seek(number)
            yield file.read(_PIECE_BYTES)


def _read(path: str) -> bytes:
    with open(path, "rb", opener=regular_only) as file:
        return file.read()


def _hash(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over parts; where one ends and the next begins counts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.digest()


def _common_directory(paths: Sequence[bytes]) -> bytes:
    """What all paths begin with, up to its last slash."""
    if not paths:
        return b""
    # In their order, those in between begin with what the two ends have in common.
    first, last = min(paths), max(paths)
    count = len(os.path.commonprefix([first, last]))
    return first[: first.rfind(b"/", 0, count) + 1]
