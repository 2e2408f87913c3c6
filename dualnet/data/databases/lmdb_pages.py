"""Single records of an LMDB file by key, through ordinary reads.

The library does not fit where only some records are read: it maps the file, so that one that was
cut short ends the process with SIGBUS, and it opens a database only once in a process, which may be
training from it. The format is that of LMDB 0.9 (mdb.c) on 64-bit machines: two meta pages, then a
B+ tree of branch and leaf pages; long values lie in overflow pages.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator

from dualnet.engine.records.lmdb_size import data_file
from dualnet.fs import SYSTEM, Fs

__all__ = ["LmdbPages", "NotLmdb"]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
#: Offset of a meta page's content and of the node pointers of other pages.
_HEADER = 16
#: magic, version, address, map size
_META = struct.Struct("<IIQQ")
#: page size or padding, flags, depth, branch, leaf and overflow pages, entries, root page
_DB = struct.Struct("<IHHQQQQQ")
#: low and high half of a leaf's data size or of a branch's page number; flags; key size
_NODE = struct.Struct("<HHHH")
_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF = 0x01, 0x02
_BIG = 0x01
_NO_ROOT = 2**64 - 1
#: No tree of ours is deeper; a damaged one may have a circle.
_DEEPEST = 64


class NotLmdb(Exception):
    """The file is no LMDB database, or a damaged one; says in what respect."""


class LmdbPages:
    """The main database of an LMDB file; close it, or use it as a context.

    Args:
        path: Its directory, or the file itself.
        fs: All I/O.

    Raises:
        NotLmdb: It is none.
        OSError: From the file system; EINVAL for what is no regular file, as a FIFO.
    """

    def __init__(self, path: str, fs: Fs = SYSTEM) -> None:
        path = data_file(path)
        self._fs = fs
        self._fd = fs.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = fs.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            #: Records in it.
            self.entries = 0
            self._page_size, self._root = 4096, _NO_ROOT
            self._size = status.st_size
            self._read_meta()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LmdbPages:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._fs.close(self._fd)

    def first(self) -> tuple[bytes, bytes]:
        """The record of the smallest key. Raises NotLmdb if there is none."""
        return self._edge(0)

    def last(self) -> tuple[bytes, bytes]:
        """The record of the largest key. Raises NotLmdb if there is none."""
        return self._edge(-1)

    def at(self, key: bytes) -> tuple[bytes, bytes]:
        """The record of the largest key that is not after `key`, or of the smallest of all."""
        page = self._page(self._root)
        for _ in range(_DEEPEST):
            nodes = list(self._nodes(page))
            # A branch's first key stands for everything before its second.
            fitting = [node for node in nodes[1:] if self._key(page, node) <= key]
            node = fitting[-1] if fitting else nodes[0]
            if self._is_leaf(page):
                return self._record(page, node)
            page = self._page(self._child(page, node))
        raise NotLmdb("its tree has a circle")

    def _edge(self, which: int) -> tuple[bytes, bytes]:
        page = self._page(self._root)
        for _ in range(_DEEPEST):
            node = list(self._nodes(page))[which]
            if self._is_leaf(page):
                return self._record(page, node)
            page = self._page(self._child(page, node))
        raise NotLmdb("its tree has a circle")

    def _read_meta(self) -> None:
        latest = -1
        for number in (0, 1):
            # The first of them has the size of the pages.
            offset = number * self._page_size + _HEADER
            content = self._read(offset, _META.size + 2 * _DB.size + 16)
            magic, version, _, _ = _META.unpack_from(content)
            if magic != _MAGIC or version != _VERSION:
                raise NotLmdb("no LMDB file of version 1")
            free = _DB.unpack_from(content, _META.size)
            main = _DB.unpack_from(content, _META.size + _DB.size)
            (transaction,) = struct.unpack_from("<Q", content, _META.size + 2 * _DB.size + 8)
            if not 256 <= free[0] <= 65536:
                raise NotLmdb(f"pages of {free[0]} bytes")
            self._page_size = free[0]
            if transaction > latest:
                latest, self.entries, self._root = transaction, main[6], main[7]

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count > self._size:
            raise NotLmdb(f"ends before byte {offset + count}")
        parts = []
        while count:
            part = self._fs.pread(self._fd, count, offset)
            if not part:
                raise NotLmdb(f"ends before byte {offset + count}")
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)

    def _page(self, number: int) -> bytes:
        if number == _NO_ROOT:
            raise NotLmdb("no record in it")
        return self._read(number * self._page_size, self._page_size)

    def _nodes(self, page: bytes) -> Iterator[int]:
        """Offsets of a page's nodes, in the order of their keys."""
        _, _, flags, lower, _ = _PAGE.unpack_from(page)
        if not flags & (_BRANCH | _LEAF) or not _HEADER < lower <= len(page):
            raise NotLmdb("a page of its tree is none")
        for place in range(_HEADER, lower, 2):
            (offset,) = struct.unpack_from("<H", page, place)
            if offset + _NODE.size > len(page):
                raise NotLmdb("a page of its tree is damaged")
            yield offset

    @staticmethod
    def _is_leaf(page: bytes) -> bool:
        return bool(_PAGE.unpack_from(page)[2] & _LEAF)

    @staticmethod
    def _key(page: bytes, node: int) -> bytes:
        size = _NODE.unpack_from(page, node)[3]
        return page[node + _NODE.size : node + _NODE.size + size]

    @staticmethod
    def _child(page: bytes, node: int) -> int:
        low, high, flags, _ = _NODE.unpack_from(page, node)
        return int(low | high << 16 | flags << 32)

    def _record(self, page: bytes, node: int) -> tuple[bytes, bytes]:
        low, high, flags, key_size = _NODE.unpack_from(page, node)
        size, start = low | high << 16, node + _NODE.size + key_size
        if flags & _BIG:
            if start + 8 > len(page):
                raise NotLmdb("a page of its tree is damaged")
            (number,) = struct.unpack_from("<Q", page, start)
            value = self._read(number * self._page_size + _HEADER, size)
        else:
            value = page[start : start + size]
        return self._key(page, node), value
