"""A LevelDB database as LMDB: Caffe's first default, and what all its tools read today."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualnet.data.databases.lmdb import write_records
from dualnet.data.publish import refuse_existing
from dualnet.engine.errors import DataError
from dualnet.engine.records.leveldb import LevelDatabase
from dualnet.errors import ConfigError

__all__ = ["convert_leveldb"]


def convert_leveldb(
    source: Path, out: Path, force: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Copy all records, keys and values as they are.

    Args:
        source: The folder of a LevelDB database, which is not changed.
        out: That of the LMDB database, which appears when it is complete.
        force: Replace what is there.
        progress: Show a progress bar.

    Returns:
        A summary for people and for JSON: source, directory, records, and sha256 over them.

    Raises:
        UsageError: `out` exists and `force` is not given.
        ConfigError: The source is no LevelDB database, is empty or damaged, or the package that
            reads it is missing.
        StorageFailed: The disk is full or cannot be written.
    """
    refuse_existing(out, force)
    if (source / "data.mdb").exists():
        raise ConfigError(f"{source} is an LMDB database already: write backend: LMDB")
    digest = hashlib.sha256()
    try:
        database = LevelDatabase(os.fspath(source))
        try:
            count = write_records(out, _some(source, _told(database, digest, progress)), force)
        finally:
            database.close()
    except DataError as error:
        raise ConfigError(str(error)) from error
    return {
        "source": str(source), "directory": str(out), "records": count,
        "sha256": digest.hexdigest(),
    }  # fmt: skip


def _told(database: LevelDatabase, digest: Any, progress: bool) -> Iterator[tuple[bytes, bytes]]:
    is_hidden = None if progress else True  # None: where there is no terminal
    for key, value in tqdm(database.items(), "converting", unit=" records", disable=is_hidden):
        for piece in (key, value):
            digest.update(len(piece).to_bytes(8, "little") + piece)
        yield key, value


def _some(source: Path, records: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The records, of which there must be one, with keys that LMDB can take."""
    count = 0
    for count, (key, value) in enumerate(records, 1):
        if not 0 < len(key) <= 511:
            raise ConfigError(
                f"{source}: record {count} has a key of {len(key)} bytes, LMDB takes 1 to 511: "
                f"{key[:40]!r}"
            )
        yield key, value
    if not count:
        raise ConfigError(f"{source} is empty: make the database again")
