"""Archives whose headers may lie: no member takes more memory than its reader expects.

A header states any size it likes, a megabyte of gzip expands to a gigabyte of zeros, and a tar's
own extended headers are read into memory whole. Everything here is read through a limit.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Callable, Optional, cast

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError, DualnetError

__all__ = ["DAMAGED", "damaged", "open_tar", "read_limited"]

#: What a damaged archive makes the standard library raise.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    ValueError,  # negative sizes and impossible offsets
    OverflowError,
)

#: The most that tarfile may ask for at once: its extended headers hold names, a few kB each.
_LARGEST_READ = 1 << 24
_PART = 1 << 20
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class TooLarge(ValueError):
    """A member, or the archive as a whole, holds more than anybody expects of it."""


class _Limited(io.RawIOBase):
    """A readable stream that gives at most `_LARGEST_READ` bytes at once, and `limit` in all."""

    def __init__(self, stream: IO[bytes], limit: Optional[int]) -> None:
        super().__init__()
        self._stream, self._limit = stream, limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._limit is not None and whence == io.SEEK_SET and offset > self._limit:
            raise TooLarge(f"it expands to more than {self._limit} bytes")
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise TooLarge(f"a header of {size} bytes, at most {_LARGEST_READ} allowed")
        if self._limit is not None and self.tell() > self._limit:
            raise TooLarge(f"it expands to more than {self._limit} bytes")
        return self._stream.read(size)


@contextmanager
def open_tar(path: Path, limit: Optional[int] = None) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not.

    Args:
        path: The file.
        limit: How many bytes it may expand to; None: any number.

    Raises:
        ConfigError: It is no tar archive.
    """
    try:
        with ExitStack() as opened:
            file: IO[bytes] = opened.enter_context(open(path, "rb", opener=regular_only))
            begin = file.read(6)
            file.seek(0)
            for magic, decompress in _OPENERS.items():
                if begin.startswith(magic):
                    file = opened.enter_context(decompress(file))
            limited = cast(BinaryIO, _Limited(file, limit))
            yield opened.enter_context(tarfile.open(fileobj=limited, mode="r:"))
    except DualnetError:
        raise
    except DAMAGED as error:
        raise damaged(path, error) from error


def read_limited(stream: IO[bytes], limit: int, name: str) -> bytes:
    """The content of a member of an archive.

    Args:
        stream: The opened member.
        limit: Bytes; hardly more are read, whatever its header says.
        name: Its name, for the message.

    Raises:
        TooLarge: It is longer.
    """
    parts, size = [], 0
    for part in iter(lambda: stream.read(_PART), b""):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise TooLarge(f"{name} is longer than {limit} bytes")
    return b"".join(parts)


def damaged(path: Path, error: Exception) -> ConfigError:
    """One line for what is wrong with an archive."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(f"{path} is not a complete zip or tar archive ({reason}): fetch it again")
