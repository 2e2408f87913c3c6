"""Fault injection: the chosen `Fs` call is replaced by SIGKILL or an error.

It is installed in a piece's process before its command runs. Calls of the heartbeat's thread are
not counted: they come by the clock, and the random kills cover them.

A call is chosen by its site, the operation and the functions that led there, and its number among
the calls of that site, because the total number of polls differs between trainings: the number
among all calls would be another one in each.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import threading
from collections import Counter
from typing import Any, Callable, Optional

from dualnet.fs import Fs

__all__ = ["CHANGING", "Tripwire"]

#: Calls that change what is on the disk, or may tell that it failed to.
CHANGING = ("mkdir", "open", "allocate", "write", "pwrite", "fsync", "close", "rename", "link",
            "unlink", "flock")  # fmt: skip
READING = ("readinto", "pread", "fstat", "lstat", "statvfs", "listdir")

#: Room for the sites of all calls of a life, a line each.
_SITES_BYTES = 4 << 20
_COUNTS = struct.Struct("<qq")


class Tripwire:
    """Counts calls, and acts at one of them.

    Args:
        site: where it acts, as `sites` names it; "" only counts.
        number: which of the site's calls, from 0.
        error: errno to fail with; 0 kills the process with SIGKILL instead.
        lasting: fail all calls from there on.
        reading: count calls that change nothing, too.
    """

    def __init__(
        self,
        site: str = "",
        number: int = 0,
        error: int = 0,
        lasting: bool = False,
        reading: bool = False,
    ) -> None:
        self.site, self.number = site, number
        self.error, self._lasting = error, lasting
        self._names = CHANGING + (READING if reading else ())
        self._reading = reading
        # Shared with the parent, which reads it when the process is gone.
        self._memory = mmap.mmap(-1, _COUNTS.size + (0 if site else _SITES_BYTES))
        self._writable: set[int] = set()
        self._met = 0

    @property
    def hits(self) -> int:
        """How often it has acted."""
        return int(_COUNTS.unpack_from(self._memory)[1])

    @property
    def sites(self) -> Counter[str]:
        """Calls of each site, in the order of their first; of a wire that only counts."""
        end = _COUNTS.size + int(_COUNTS.unpack_from(self._memory)[0])
        return Counter(self._memory[_COUNTS.size : end].decode().splitlines())

    def lay(self) -> None:
        """Install it in this process."""
        for name in self._names:
            setattr(Fs, name, self._wired(name, getattr(Fs, name)))

    def _wired(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fs: Fs, *args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return real(fs, *args, **kwargs)
            if name == "open":
                changing = bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
                if not changing and not self._reading:
                    return real(fs, *args, **kwargs)
                self._step(name)
                fd = real(fs, *args, **kwargs)
                if changing:
                    self._writable.add(fd)
                return fd
            if name == "close":
                if args[0] not in self._writable and not self._reading:
                    return real(fs, *args, **kwargs)
                self._writable.discard(args[0])
                # As the kernel does: whatever is reported, the descriptor is gone.
                try:
                    self._step(name)
                finally:
                    real(fs, *args, **kwargs)
                return None
            self._step(name)
            return real(fs, *args, **kwargs)

        return call

    def _step(self, name: str) -> None:
        used, hits = _COUNTS.unpack_from(self._memory)
        if not (self._lasting and hits):
            site = f"{name}: {_path(sys._getframe(2))}"
            if not self.site:
                line = f"{site}\n".encode()
                self._memory[_COUNTS.size + used : _COUNTS.size + used + len(line)] = line
                _COUNTS.pack_into(self._memory, 0, used + len(line), 0)
                return
            if site != self.site:
                return
            self._met += 1
            if self._met != self.number + 1:
                return
        _COUNTS.pack_into(self._memory, 0, used, hits + 1)
        if not self.error:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.error, os.strerror(self.error))


def _path(frame: Optional[Any]) -> str:
    """The functions of dualnet that led here, innermost first."""
    names: list[str] = []
    while frame is not None and len(names) < 4:
        file = frame.f_code.co_filename
        module = os.path.basename(file)[:-3]
        if f"{os.sep}dualnet{os.sep}" in file and module not in ("fs", "storage"):
            name = f"{module}.{frame.f_code.co_name}"
            if not name.endswith(">") and name not in names:
                names.append(name)
        frame = frame.f_back
    return " < ".join(names)
