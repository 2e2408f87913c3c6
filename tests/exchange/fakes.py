"""Stand-ins for the system: a clock that runs as fast as one sleeps, and a disk that fails."""

from __future__ import annotations

import os
from collections.abc import Callable

from dualnet.exchange.run.host import ProcessId
from dualnet.fs import Buffer, Fs

#: A machine that is not this one: nothing can be proved about its processes.
ELSEWHERE = ProcessId("elsewhere", "other-boot", "pid:[2]", 4711, "99")


class VirtualFs(Fs):
    """Real files, virtual time, and no waiting for the disk's platter.

    Attributes:
        now_s: the clock.
        slept_s: each sleep so far.
        on_sleep: called after each sleep; here the rest of the world moves.
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.slept_s.append(duration_s)
        self.on_sleep()

    def monotonic(self) -> float:
        return self.now_s

    def fsync(self, fd: int) -> None:
        pass


class FaultyFs(VirtualFs):
    """Fails chosen operations; counts and names all of them.

    Attributes:
        log: names of the operations so far.
        fail_at: index in `log` of the first operation to fail, -1 for none.
        error: errno to fail with.
        persistent: fail all operations from there on, until `heal_after_s` of virtual time.
        only: fail only operations of this name, "" for any.
    """

    #: What an operation on a broken disk can raise; the clock and the lock cannot.
    OPERATIONS = (
        "open",
        "close",
        "write",
        "pwrite",
        "readinto",
        "pread",
        "fsync",
        "fstat",
        "lstat",
        "rename",
        "link",
        "unlink",
        "listdir",
        "mkdir",
        "statvfs",
    )

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.fail_at = -1
        self.error = 5
        self.persistent = False
        self.only = ""
        self.failed = 0

    def arm(self, fail_at: int, error: int, persistent: bool = False, only: str = "") -> None:
        """Start counting at 0 again, and fail from operation `fail_at` on."""
        self.log = []
        self.failed = 0
        self.fail_at, self.error, self.persistent, self.only = fail_at, error, persistent, only

    def disarm(self) -> None:
        """Work from now on."""
        self.fail_at = -1

    def _step(self, name: str) -> None:
        if self.only and name != self.only:
            return
        index = len(self.log)
        self.log.append(name)
        due = index >= self.fail_at if self.persistent else index == self.fail_at
        if self.fail_at >= 0 and due:
            self.failed += 1
            raise OSError(self.error, os.strerror(self.error))


def _failing(name: str) -> Callable[..., object]:
    real = getattr(VirtualFs, name)

    def operation(self: FaultyFs, *args: object, **kwargs: object) -> object:
        if name == "close":
            # As the kernel does: the descriptor is gone, whatever is reported.
            try:
                self._step(name)
            finally:
                real(self, *args, **kwargs)
            return None
        self._step(name)
        return real(self, *args, **kwargs)

    return operation


for _name in FaultyFs.OPERATIONS:
    setattr(FaultyFs, _name, _failing(_name))


class ShortFs(VirtualFs):
    """Takes and gives at most seven bytes a call, as a kernel may."""

    def write(self, fd: int, data: Buffer) -> int:
        return super().write(fd, memoryview(data)[:7])

    def readinto(self, fd: int, buffer: memoryview) -> int:
        return super().readinto(fd, buffer[:7])

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        return super().pread(fd, min(count, 7), offset)
