"""Image databases in the layout of Caffe's converters: LMDB records that hold a Datum each.

Keys are the running number in decimal, padded with zeros to at least five digits, as in Caffe's
examples/cifar10/convert_cifar_data.cpp; values are Datum messages with the pixels as bytes, plane
by plane. Caffe's Data layer reads records in the order of their keys and never shuffles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np

from dualnet.data.messages import messages
from dualnet.data.publish import new_directory, storage_error
from dualnet.engine.records.lmdb_size import damage
from dualnet.errors import ConfigError, StorageFailed

__all__ = ["Record", "count_records", "read_lmdb", "write_lmdb", "write_records"]

#: Records in one transaction, as in Caffe's tools/convert_imageset.cpp.
_BATCH = 1000
#: The first limit on the size of a database, in bytes. It doubles as often as the data need, so
#: that no size has to be guessed; the file itself is only ever as large as what it holds.
_FIRST_MAP_SIZE = 2**20
_KEY_DIGITS = 5


class Record(NamedTuple):
    """One image of a database."""

    #: The key, as "00042".
    key: str
    #: (C, H, W) uint8, or float32 if the Datum holds float_data.
    image: np.ndarray
    label: int


def write_lmdb(
    path: str | Path,
    images: Iterable[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    force: bool = False,
) -> int:
    """Write images and labels as a new database; the same input gives the same bytes.

    Args:
        path: The directory of the database. It appears when all records are on disk.
        images: (C, H, W) uint8 each, all of one shape, read once; an array (N, C, H, W) will do.
        labels: N integers. Keys have five digits, more where N needs them.
        force: Replace a database that is there.

    Returns:
        The number of records, N.

    Raises:
        UsageError: `path` exists and `force` is not given.
        ConfigError: An image has another shape or type, or there are not as many images as labels.
        StorageFailed: The disk is full or cannot be written.
    """
    return write_records(path, _encode(Path(path), images, labels), force)


def write_records(
    path: str | Path, records: Iterable[tuple[bytes, bytes]], force: bool = False
) -> int:
    """Write records as a new database; the same input gives the same bytes.

    Args:
        path: The directory of the database. It appears when all records are on disk.
        records: (key, value) each, in the order of their keys. What they raise is passed on.
        force: Replace a database that is there.

    Returns:
        The number of records.

    Raises:
        UsageError: `path` exists and `force` is not given.
        StorageFailed: The disk is full or cannot be written.
    """
    path, count, rest = Path(path), 0, iter(records)
    with new_directory(path, force) as temporary:
        try:
            # No lock file: nobody else knows this directory. No sync until the end: it is published
            # as a whole.
            with lmdb.open(
                str(temporary), map_size=_FIRST_MAP_SIZE, mode=0o644, lock=False, sync=False
            ) as env:
                batch = _take(rest)
                while batch:
                    _put(env, batch)
                    count += len(batch)
                    batch = _take(rest)
                env.sync(True)
        except (lmdb.Error, OSError) as error:
            raise storage_error(path, "write the database", error) from error
    return count


def _encode(
    path: Path, images: Iterable[np.ndarray], labels: Sequence[int] | np.ndarray
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, serialized Datum), checking that images and labels fit together."""
    datum_class = messages().Datum
    digits = max(_KEY_DIGITS, len(str(len(labels) - 1)))
    shape, number = None, 0
    for number, image in enumerate(images, 1):
        if number > len(labels):
            break
        image = np.asarray(image)
        shape = shape or image.shape
        if image.ndim != 3 or image.dtype != np.uint8 or image.shape != shape:
            raise ConfigError(
                f"{path}: image {number - 1} is {image.dtype} of shape {image.shape}, expected "
                f"uint8 of shape {shape if len(shape) == 3 else '(channels, height, width)'}"
            )
        datum = datum_class(channels=shape[0], height=shape[1], width=shape[2])
        datum.data = image.tobytes()
        datum.label = int(labels[number - 1])
        yield f"{number - 1:0{digits}d}".encode("ascii"), datum.SerializeToString()
    if number != len(labels):
        found = "more" if number > len(labels) else str(number)
        raise ConfigError(f"{path}: {len(labels)} labels, but {found} images: they must be as many")


def _take(records: Iterator[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [record for _, record in zip(range(_BATCH), records)]


def _put(env: Any, batch: list[tuple[bytes, bytes]]) -> None:
    """Commit a batch, doubling the size limit as often as it needs."""
    while True:
        try:
            with env.begin(write=True) as transaction:
                for key, value in batch:
                    # append: keys come in order, which packs the pages and keeps the bytes the same
                    transaction.put(key, value, append=True)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])


def _open(path: str | Path) -> Any:
    path = Path(path)
    if not (path / "data.mdb").is_file():
        raise StorageFailed(
            f"{path} is not an LMDB database (no data.mdb in it): `dualnet data NAME` writes one"
        )
    try:
        # lock=False: data sets may lie on read-only file systems, and nobody writes to them.
        environment = lmdb.open(str(path), readonly=True, lock=False, max_spare_txns=0)
    except lmdb.Error as error:
        raise StorageFailed(f"cannot open the database {path} ({error})") from error
    problem = damage(environment)
    if problem:
        environment.close()
        raise StorageFailed(f"the database {path} is damaged ({problem}): make or copy it again")
    return environment


def count_records(path: str | Path) -> int:
    """Count the records of a database.

    Args:
        path: Its directory.

    Returns:
        The number of records.

    Raises:
        StorageFailed: There is no database, or it is damaged.
    """
    with _open(path) as env:
        return int(env.stat()["entries"])


def read_lmdb(path: str | Path) -> Iterator[Record]:
    """Read a database record by record, in the order in which Caffe's Data layer does.

    Args:
        path: Its directory.

    Yields:
        The records.

    Raises:
        StorageFailed: There is no database, or it, or a record, is damaged.
    """
    datum = messages().Datum()
    with _open(path) as env:
        try:
            with env.begin() as transaction:
                for key, value in transaction.cursor():
                    yield _decode(path, datum, key, value)
        except lmdb.Error as error:
            raise StorageFailed(f"the database {path} is damaged ({error})") from error


def _decode(path: str | Path, datum: Any, key: bytes, value: bytes) -> Record:
    where = f"{path}: record {key!r}"
    try:
        datum.ParseFromString(value)
    except Exception as error:  # DecodeError lives in protobuf, which only the provider imports
        raise StorageFailed(f"{where} is not a Datum ({error})") from error
    shape = (datum.channels, datum.height, datum.width)
    if datum.encoded:
        raise StorageFailed(f"{where} is a compressed image: convert it to pixels of a fixed size")
    if datum.data:
        image = np.frombuffer(datum.data, np.uint8)
    else:
        image = np.array(datum.float_data, np.float32)
    if min(shape) < 0 or image.size != shape[0] * shape[1] * shape[2]:
        raise StorageFailed(f"{where} holds {image.size} values, but its shape says {shape}")
    return Record(key.decode("ascii", "replace"), image.reshape(shape), datum.label)
