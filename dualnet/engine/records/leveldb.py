"""Reading LevelDB databases (Caffe `util/db_leveldb.cpp`), by the package plyvel or plyvel-next.

LevelDB has no read-only mode: it locks a database, replays its log and rewrites its manifest, so
that a data set that is read-only or in use cannot be opened. A view is opened instead: a temporary
folder with links to the tables, which are never changed, and copies of the rest.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

from dualnet.engine.errors import DataError
from dualnet.engine.formats.regular_file import read_at_most, regular_only

__all__ = ["LevelDatabase", "is_leveldb"]

#: plyvel-next is plyvel for newer Pythons, for which plyvel has no wheels.
_PACKAGES = ("plyvel", "plyvel_next")
_TABLE = re.compile(r"\d+\.(ldb|sst)")
_LOG = re.compile(r"\d+\.log")
_CURRENT = re.compile(rb"(MANIFEST-\d+)\n")
#: Tables that are open at a time; a database may have thousands.
_OPEN_FILES = 100


def is_leveldb(path: str) -> bool:
    """Whether a folder looks like a LevelDB database."""
    return os.path.isfile(os.path.join(path, "CURRENT")) and not os.path.exists(
        os.path.join(path, "data.mdb")
    )


def _package(path: str) -> Any:
    for name in _PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise DataError(
        f"'{path}' is a LevelDB database, and neither of the packages that can read it is "
        f"installed ({', '.join(_PACKAGES)}): pip install 'dualnet[leveldb]'"
    )


class LevelDatabase:
    """A LevelDB database, opened for reading; it stays as it is.

    Args:
        path: its folder.

    Raises:
        DataError: it is missing, damaged, or no LevelDB; or the package is missing.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._package = _package(path)
        try:
            view = _view_of(path)
        except OSError as error:
            raise DataError(f"cannot read '{path}' as LevelDB: {error.strerror}") from error
        self._forget = weakref.finalize(self, _remove, view, os.getpid())
        try:
            self._database: Any = self._package.DB(
                view, create_if_missing=False, paranoid_checks=True, max_open_files=_OPEN_FILES
            )
        except (self._package.Error, ValueError) as error:
            self._forget()
            raise self._damaged(error, view) from error

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in the order of the keys.

        Raises:
            DataError: the database is damaged.
        """
        try:
            with self._database.iterator(verify_checksums=True, fill_cache=False) as found:
                yield from found
        except self._package.Error as error:
            raise self._damaged(error, "") from error

    def close(self) -> None:
        """Close it, and remove the view."""
        self._database.close()
        self._forget()

    def _damaged(self, error: Exception, view: str) -> DataError:
        words = " ".join(str(error).split())
        if isinstance(error.args[0] if error.args else None, bytes):
            words = error.args[0].decode(errors="replace")
        words = words.replace(f"{view}/", "").replace(view, self.path) if view else words
        return DataError(f"the LevelDB database '{self.path}' is damaged: {words}")


def _view_of(path: str) -> str:
    """A folder in which LevelDB may write, with the database in it.

    Raises:
        OSError: a file cannot be read or the folder not be made.
        DataError: it is no LevelDB database.
    """
    found = _CURRENT.fullmatch(_current(path))
    if found is None:
        raise DataError(f"'{path}' is no LevelDB database: its file CURRENT names no manifest")
    view = tempfile.mkdtemp(prefix="dualnet-leveldb-")
    try:
        names = os.listdir(path)
        for name in filter(_TABLE.fullmatch, names):
            os.symlink(os.path.join(os.path.abspath(path), name), os.path.join(view, name))
        for name in ["CURRENT", found.group(1).decode(), *filter(_LOG.fullmatch, names)]:
            _copy(os.path.join(path, name), os.path.join(view, name))
    except BaseException:
        shutil.rmtree(view, ignore_errors=True)
        raise
    return view


def _remove(view: str, made_by: int) -> None:
    """Remove a view, but not from a forked process: its parent still reads there."""
    if os.getpid() == made_by:
        shutil.rmtree(view, ignore_errors=True)


def _current(path: str) -> bytes:
    try:
        return read_at_most(os.path.join(path, "CURRENT"), 4096)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.path.exists(path):
            raise DataError(
                f"data source '{path}' does not exist (the working directory is '{os.getcwd()}'); "
                "make the database first or correct data_param.source"
            ) from error
        raise DataError(f"'{path}' is no LevelDB database: it has no file CURRENT") from error


def _copy(source: str, target: str) -> None:
    try:
        with open(source, "rb", opener=regular_only) as read, open(target, "xb") as written:
            shutil.copyfileobj(read, written, 2**20)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.strerror = f"no room for a copy of its log in {os.path.dirname(target)} (TMPDIR)"
        raise
