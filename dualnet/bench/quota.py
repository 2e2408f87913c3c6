"""A quota of processor time for processes, by a control group (Linux; root, or a delegated group).

A quota of 0.4 is 0.4 s of processor time a second, of all threads together and on whichever cores:
a slower processor, as far as the kernel can make one. In each period the processes of a group run
until their share of it is used up, then wait for the next. Short periods make that smooth: in one
of 100 ms, the kernel's default, a piece could compute a whole iteration at full speed.

The kernel has two interfaces. Version 2 has one tree, and `cpu.max`; version 1 a tree for the
controller `cpu`, and `cpu.cfs_quota_us`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dualnet.errors import UsageError

__all__ = ["PERIOD_MS", "Quotas", "join", "quotas"]

#: Short beside an iteration, long beside a tick of the kernel (4 ms at most), which is when it sees
#: that a quota is used up; what a group ran too long is taken from its next period.
PERIOD_MS = 20
#: For processes that end, so that their group can be removed.
_REMOVE_S = 5.0


@dataclass(frozen=True)
class Quotas:
    """Groups, each with a quota.

    Attributes:
        folder: Of their common parent.
        version: Of the kernel's interface, 1 or 2.
    """

    folder: str
    version: int

    @property
    def how(self) -> str:
        """In words."""
        file = "cpu.max" if self.version == 2 else "cpu.cfs_quota_us"
        return f"cgroup v{self.version} {file}, period {PERIOD_MS} ms"

    def add(self, name: str, quota: float) -> str:
        """Make a group.

        Args:
            name: Of its folder.
            quota: Seconds of processor time a second.

        Returns:
            The file where a process writes its number to belong to it, with all of its threads.

        Raises:
            UsageError: The kernel does not take it.
        """
        path, period_us = os.path.join(self.folder, name), PERIOD_MS * 1000
        quota_us = round(quota * period_us)
        try:
            os.mkdir(path)
            if self.version == 2:
                _write(path, "cpu.max", f"{quota_us} {period_us}")
            else:
                _write(path, "cpu.cfs_period_us", str(period_us))
                _write(path, "cpu.cfs_quota_us", str(quota_us))
        except OSError as error:
            raise UsageError(f"a quota of {quota:g}: {path}: {error.strerror}") from None
        return os.path.join(path, "cgroup.procs")


def join(group: str) -> None:
    """Put this process into a group, with all of its threads.

    Args:
        group: What `Quotas.add` returned.
    """
    with open(group, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


@contextmanager
def quotas(root: str = "/sys/fs/cgroup") -> Iterator[Quotas]:
    """A parent for groups; they are gone when the block is left, where their processes have ended.

    Args:
        root: Where the control groups are mounted.

    Raises:
        UsageError: There are none here, or none may be made.
    """
    name, made = f"dualnet-bench-{os.getpid()}", None
    try:
        for parent, version in _parents(root):
            try:
                os.mkdir(os.path.join(parent, name))
            except OSError as error:
                raise UsageError(f"no quotas here: {parent}: {error.strerror}; be root") from None
            if version == 2:
                _delegate(os.path.join(parent, name))
            made = Quotas(os.path.join(parent, name), version)
            break
        if made is None:
            raise UsageError(f"no quotas here: {root} has no controller cpu")
        yield made
    finally:
        if made is not None:
            groups = [entry.path for entry in os.scandir(made.folder) if entry.is_dir()]
            _remove([*groups, made.folder])


def _parents(root: str) -> Iterator[tuple[str, int]]:
    """Where a group with a quota can be made: the folder and the interface's version."""
    for name in ("cpu", "cpu,cpuacct"):
        if os.path.exists(os.path.join(root, name, "cpu.shares")):
            yield os.path.join(root, name), 1
    for folder in (root, os.path.join(root, "unified")):
        try:
            with open(os.path.join(folder, "cgroup.controllers"), encoding="ascii") as file:
                if "cpu" in file.read().split():
                    yield folder, 2
        except OSError:
            continue  # not mounted there


def _delegate(folder: str) -> None:
    """Give the controller to a new group's children, which its parents have to do first."""
    for path in (os.path.dirname(folder), folder):
        try:
            _write(path, "cgroup.subtree_control", "+cpu")
        except OSError as error:
            os.rmdir(folder)
            raise UsageError(
                f"no quotas here: {path}/cgroup.subtree_control: {error.strerror}"
            ) from None


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(text)


def _remove(folders: Sequence[str]) -> None:
    last_s = time.monotonic() + _REMOVE_S
    for folder in folders:
        while True:
            try:
                os.rmdir(folder)
            except OSError:  # busy: a process in it is just ending
                if time.monotonic() < last_s:
                    time.sleep(0.05)
                    continue
            break
