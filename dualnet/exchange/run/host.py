"""Which process on which machine: enough to prove, from the same machine, that it is gone."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ProcessId"]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; "" if it is dead, None if unknown."""
    if not os.path.exists("/proc/self/stat"):
        return None
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return ""
    # The command name, in parentheses, may hold anything; the fields after it are fixed.
    state_and_rest = stat.rpartition(")")[2].split()
    # A zombie has ended; its parent merely has not waited for it yet.
    return "" if state_and_rest[0] in ("Z", "X", "x") else state_and_rest[19]


@dataclass(frozen=True)
class ProcessId:
    """A process, named so that a later process with the same number is not mistaken for it.

    Attributes:
        host: name to show to people.
        boot_id: the machine and its boot; two containers on one machine share it.
        pid_ns: the process number space, which two containers do not share.
        pid: process number.
        start: start time in clock ticks since boot.
    """

    host: str
    boot_id: str
    pid_ns: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> ProcessId:
        """The calling process."""
        try:
            pid_ns = os.readlink("/proc/self/ns/pid")
        except OSError:
            pid_ns = ""
        return cls(
            host=socket.gethostname(),
            boot_id=_read("/proc/sys/kernel/random/boot_id"),
            pid_ns=pid_ns,
            pid=os.getpid(),
            start=_process_start(os.getpid()) or "",
        )

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> ProcessId | None:
        """The process that a record describes, or None if it does not describe one."""
        try:
            pid = fields["pid"]
            names = [fields[key] for key in ("host", "boot_id", "pid_ns", "start")]
        except (KeyError, TypeError):
            return None
        if type(pid) is not int or not all(type(name) is str for name in names):
            return None
        return cls(names[0], names[1], names[2], pid, names[3])

    def fields(self) -> dict[str, Any]:
        """What to put into a record."""
        return asdict(self)

    def alive(self, observer: ProcessId) -> bool | None:
        """Whether this process runs, as far as `observer`'s machine can tell; None if it cannot."""
        same_machine = self.boot_id and self.boot_id == observer.boot_id
        if not same_machine or self.pid_ns != observer.pid_ns:
            return None
        start = _process_start(self.pid)
        if start is None or not self.start:
            return None
        return start == self.start

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"
