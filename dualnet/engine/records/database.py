"""Sequential reading of image databases (Caffe `util/db_lmdb.cpp`, `L/data_layer.cpp`)."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from dualnet.engine.errors import DataError
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records.leveldb import LevelDatabase
from dualnet.engine.records.lmdb_size import damage, data_file

__all__ = ["Database", "Records", "open_database"]

_lock = threading.Lock()
_opened: weakref.WeakValueDictionary[tuple[str, int, bool], Records] = weakref.WeakValueDictionary()
#: Set when an LMDB that was open is closed: there may be one a process at a time.
_closed: dict[tuple[str, int, bool], threading.Event] = {}
_CLOSES_WITHIN_S = 5.0


class Records:
    """A read-only database of records; use `open_database`, which shares one object a path.

    Attributes:
        path: its folder.
        is_level: it is LevelDB, not LMDB.
        opened_by: the process that has opened it; 0 if that does not matter.
    """

    path: str
    is_level = False
    opened_by = 0

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in the order of the keys, once."""
        raise NotImplementedError

    def let_go(self) -> None:
        """In a forked process: frees the database to be opened again; the parent's stays open."""

    def first(self) -> caffe_pb2.Datum:
        """The first record."""
        return next(self.records())[1]

    def records(self) -> Iterator[tuple[bytes, caffe_pb2.Datum]]:
        """All records in the order of their keys, once.

        A process that was forked since opens the database again, as LMDB and LevelDB demand.
        """
        if self.opened_by not in (0, os.getpid()):
            self.let_go()
            yield from open_database(self.path, self.is_level).records()
            return
        for key, value in self.items():
            yield key, _datum(value, f"'{self.path}', record {key!r}")


class Database(Records):
    """An LMDB database.

    An LMDB environment may be opened only once in a process, while nets of one process often read
    the same source.

    Attributes:
        size: how many records it has.
    """

    def __init__(self, path: str) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise DataError(f"reading '{path}' needs the package lmdb; install it") from error
        self.path = path
        if not os.path.exists(path):
            raise DataError(
                f"data source '{path}' does not exist (the working directory is '{os.getcwd()}'); "
                "make the database first or correct data_param.source"
            )
        try:
            # On a FIFO the library would wait until somebody writes to it.
            os.close(regular_only(data_file(path), os.O_RDONLY))
        except OSError as error:
            raise DataError(f"cannot open '{path}' as LMDB: {error.strerror}") from error
        try:
            # No lock file: sources may lie on read-only or shared file systems.
            self._environment: Any = lmdb.open(
                path, readonly=True, lock=False, readahead=False, subdir=os.path.isdir(path)
            )
        except lmdb.Error as error:
            raise DataError(f"cannot open '{path}' as LMDB: {error}") from error
        self.closed = threading.Event()
        weakref.finalize(self, _close, self._environment, self.closed)
        problem = damage(self._environment)
        if problem:
            raise DataError(f"data source '{path}' is damaged: {problem}; make or copy it again")
        self.size: int = self._environment.stat()["entries"]
        if not self.size:
            raise DataError(f"data source '{path}' is empty; make the database again")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """See `Records.items`."""
        import lmdb

        try:
            with self._environment.begin(buffers=False) as transaction:
                yield from transaction.cursor()
        except lmdb.Error as error:
            raise DataError(
                f"data source '{self.path}' is damaged: {error}; make or copy it again"
            ) from error

    def let_go(self) -> None:
        """See `Records.let_go`."""
        self._environment.close()


class _Level(Records):
    """A LevelDB database."""

    is_level = True

    def __init__(self, path: str) -> None:
        self.path = path
        self._database = LevelDatabase(path)
        # Not at the end of the process, when a prefetching thread may still read.
        weakref.finalize(self, self._database.close).atexit = False
        if next(self.items(), None) is None:
            self._database.close()
            raise DataError(f"data source '{path}' is empty; make the database again")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """See `Records.items`."""
        return self._database.items()


def _close(environment: Any, closed: threading.Event) -> None:
    environment.close()
    closed.set()


def _datum(value: bytes, where: str) -> caffe_pb2.Datum:
    try:
        return caffe_pb2.Datum.FromString(value)
    except DecodeError as error:
        raise DataError(f"{where} is no Datum, or is damaged: {error}") from error


def open_database(path: str, is_level: bool = False) -> Records:
    """Opens a database, or returns the one that is open already.

    Args:
        path: its folder.
        is_level: it is LevelDB, not LMDB.

    Raises:
        DataError: it is missing, empty, damaged or of another kind, or a package is missing.
    """
    identity = (os.path.realpath(path), os.getpid(), is_level)
    with _lock:
        found = _opened.get(identity)
        if found is None:
            # The last reference may just have been dropped in another thread: let it close first.
            if identity in _closed:
                _closed.pop(identity).wait(_CLOSES_WITHIN_S)
            found = _Level(path) if is_level else Database(path)
            found.opened_by = os.getpid()
            _opened[identity] = found
            if isinstance(found, Database):
                _closed[identity] = found.closed
        return found
