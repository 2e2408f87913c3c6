"""One array in one file: a 128-byte .npy header, the data, a 128-byte trailer.

`numpy.load` opens such a file: it reads the header and as much data as the header states, and
ignores what follows. We do not trust the header: shape and dtype are known beforehand from the
authenticated layout (`dualnet.exchange.files.layout`), so the reader compares 128 bytes with the
128 bytes that it expects and never parses any.

Trailer, little-endian (offset, length):
    0    4  magic "DNX1"
    4   16  run id
    20   4  epoch of the writer
    24   8  iteration
    32   8  sequence number of the message
    40   8  bytes of data
    48   4  end of the writer (0 lower, 1 upper), index of the array in the message, two zero bytes
    52  12  first bytes of SHA-256("<link>/<kind>/<array name>")
    64  32  digest of header and data (`dualnet.exchange.digest`); does not depend on the epoch
    96  32  HMAC of the 96 bytes before
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

import numpy as np

from dualnet.errors import UsageError
from dualnet.exchange.digest import LEAF_BYTES, Hasher, StreamDigest
from dualnet.exchange.disk.records import mac
from dualnet.exchange.disk.safefile import Damaged, open_regular, read_exactly, write_all
from dualnet.exchange.link import ENDS, Link
from dualnet.fs import Fs

__all__ = [
    "ArrayLayout",
    "HEADER_BYTES",
    "TRAILER_BYTES",
    "Trailer",
    "check_trailer",
    "read_array",
    "read_trailer",
    "write_array",
]

HEADER_BYTES = 128
TRAILER_BYTES = 128

_MAGIC = b"DNX1"
_FIELDS = struct.Struct("<4s16sIQQQBBxx12s32s")

#: dtypes that may travel; fixed sizes, little-endian, no objects.
DTYPES = frozenset(
    [
        "|b1",
        "|i1",
        "|u1",
        "<i2",
        "<u2",
        "<i4",
        "<u4",
        "<i8",
        "<u8",
        "<f2",
        "<f4",
        "<f8",
        "<c8",
        "<c16",
    ],
)


@dataclass(frozen=True)
class ArrayLayout:
    """Name, dtype and shape of one array of a message.

    Args:
        name: the blob's name, 1 to 64 characters.
        dtype: NumPy's type string, "<f4".
        shape: axes, (N, C, H, W) for a blob.

    Raises:
        UsageError: a dtype that may not travel, or a shape that does not fit a 128-byte header.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 64:
            raise UsageError(
                f"array name {self.name!r}: 1 to 64 characters allowed, got {len(self.name)}"
            )
        if self.dtype not in DTYPES:
            raise UsageError(
                f"array {self.name!r}: dtype {self.dtype!r} cannot be exchanged; "
                f"use one of {' '.join(sorted(DTYPES))}"
            )
        if not all(type(axis) is int and axis >= 0 for axis in self.shape):
            raise UsageError(f"array {self.name!r}: {self.shape} is no shape")
        self.header()

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> ArrayLayout:
        """The layout of a given array."""
        return cls(name, array.dtype.str, tuple(int(axis) for axis in array.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of data; plain integers, so that no size can overflow."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count * int(self.dtype[2:])

    def header(self) -> bytes:
        """The 128 bytes that stand before the data (NumPy's format 1.0)."""
        axes = ", ".join(str(axis) for axis in self.shape)
        if len(self.shape) == 1:
            axes += ","
        text = f"{{'descr': '{self.dtype}', 'fortran_order': False, 'shape': ({axes}), }}"
        room = HEADER_BYTES - 10 - 1
        if len(text) > room:
            raise UsageError(
                f"array {self.name!r}: a shape of {len(self.shape)} axes needs {len(text)} header "
                f"bytes, {room} fit; reshape it"
            )
        return b"\x93NUMPY\x01\x00v\x00" + text.ljust(room).encode("ascii") + b"\n"


@dataclass(frozen=True)
class Trailer:
    """What the end of a data file states about it.

    Attributes:
        run_id: 16 bytes.
        link, piece: over which link it was sent, and by whom.
        epoch, seq, iteration, kind: which message of the run.
        index, name: which array of the message.
        nbytes: bytes of data.
        digest: 32 bytes, see the module's head.
    """

    run_id: bytes
    link: Link
    piece: str
    epoch: int
    seq: int
    iteration: int
    kind: str
    index: int
    name: str
    nbytes: int
    digest: bytes

    def pack(self, key: bytes) -> bytes:
        """The 128 bytes."""
        tag = hashlib.sha256(f"{self.link.name}/{self.kind}/{self.name}".encode()).digest()[:12]
        body = _FIELDS.pack(
            _MAGIC,
            self.run_id,
            self.epoch,
            self.iteration,
            self.seq,
            self.nbytes,
            ENDS.index(self.link.end(self.piece)),
            self.index,
            tag,
            self.digest,
        )
        return body + mac(key, "npy", body)


def _bytes_of(array: np.ndarray) -> memoryview:
    """The memory of a C-contiguous array as bytes; an empty view for an empty array."""
    return array.reshape(-1).view(np.uint8).data


def write_array(
    fs: Fs, fd: int, array: np.ndarray, layout: ArrayLayout, hasher: Hasher
) -> StreamDigest:
    """Write header and data, hashing on the way; the trailer is the caller's to append.

    Args:
        array: C-contiguous, as `layout` states.

    Raises:
        OSError: from the file system.
    """
    header = layout.header()
    stream = hasher.stream(header)
    write_all(fs, fd, memoryview(header))
    data = _bytes_of(array)
    for start in range(0, len(data), LEAF_BYTES):
        chunk = data[start : start + LEAF_BYTES]
        stream.add(chunk)
        write_all(fs, fd, chunk)
    return stream


def read_array(
    fs: Fs,
    fd: int,
    layout: ArrayLayout,
    expected: Trailer,
    key: bytes,
    hasher: Hasher,
    verify: bool,
) -> tuple[np.ndarray, bytes]:
    """Read an open data file from its beginning and verify it.

    The caller has checked that the file is regular and exactly as long as `layout` demands; memory
    is taken for what `layout` states and nothing else.

    Args:
        expected: the trailer but for its digest.
        verify: compare the digest of what was read; all else is checked in any case.

    Returns:
        The array and the digest that the authenticated trailer states.

    Raises:
        Damaged: the file is not the one that was announced.
        OSError: from the file system.
    """
    header = bytearray(HEADER_BYTES)
    read_exactly(fs, fd, memoryview(header))
    if header != layout.header():
        raise Damaged(f"header is not that of {layout.dtype} {layout.shape}")
    array = np.empty(layout.shape, dtype=layout.dtype)
    stream = hasher.stream(bytes(header))
    data = _bytes_of(array)
    for start in range(0, len(data), LEAF_BYTES):
        chunk = data[start : start + LEAF_BYTES]
        read_exactly(fs, fd, chunk)
        if verify:
            stream.add(chunk)
    trailer = bytearray(TRAILER_BYTES)
    read_exactly(fs, fd, memoryview(trailer))
    digest = check_trailer(bytes(trailer), expected, key)
    if verify and not hmac.compare_digest(stream.digest(), digest):
        raise Damaged("digest of the data differs from the trailer's")
    return array, digest


def check_trailer(trailer: bytes, expected: Trailer, key: bytes) -> bytes:
    """Check a trailer against what is expected, its digest excepted, and return its digest.

    Raises:
        Damaged: a wrong HMAC, or another run, link, piece, epoch, iteration, kind, array or length.
    """
    digest = trailer[64:96]
    body = trailer[:96]
    if not hmac.compare_digest(trailer[96:], mac(key, "npy", body)):
        raise Damaged("wrong HMAC in the trailer")
    stated = Trailer(**{**expected.__dict__, "digest": digest})
    if not hmac.compare_digest(stated.pack(key), trailer):
        raise Damaged("the trailer is that of another message")
    return digest


def read_trailer(fs: Fs, path: str, expected: Trailer, key: bytes) -> bytes:
    """Read only the trailer of a file and return the digest that it states.

    Raises:
        Damaged: as `check_trailer`, or the file has not the length that is expected.
        OSError: from the file system.
    """
    size = HEADER_BYTES + expected.nbytes + TRAILER_BYTES
    fd = open_regular(fs, path, size, exact=True)
    try:
        trailer = fs.pread(fd, TRAILER_BYTES, size - TRAILER_BYTES)
    finally:
        fs.close(fd)
    if len(trailer) != TRAILER_BYTES:
        raise Damaged(f"shorter than {size} bytes")
    return check_trailer(trailer, expected, key)
