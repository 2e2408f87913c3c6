"""How much memory a process has in use, and the most that it has had.

On the CPU that is the resident set: pages that are really there, the libraries' among them. Address
space is no measure of it: PyTorch and the C library reserve far more than they touch (a stack of
8 MiB for each thread, 64 MiB for each malloc arena, libraries' whole images), so a limit by
RLIMIT_AS, or RLIMIT_DATA, would refuse nets that fit. A control group counts the data set's pages
in the file cache too, which the system takes back when it needs them.

On a GPU it is what PyTorch's allocator has handed out; the driver's own context is not in it.
"""

from __future__ import annotations

from typing import Any, Optional, Union

__all__ = ["DeviceUsage", "HostUsage", "Usage", "make_usage", "resident_mib"]

_MIB = 2.0**20


def resident_mib(pid: Union[int, str] = "self", peak: bool = False) -> Optional[float]:
    """Memory of a process from `/proc/PID/status`; None if it has ended.

    Args:
        pid: Which.
        peak: The most since its start, or since a reset.
    """
    key = "VmHWM:" if peak else "VmRSS:"
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1]) / 1024.0
    except OSError:
        pass
    return None


class HostUsage:
    """This process's resident set."""

    def now(self) -> float:
        """MiB in use."""
        return resident_mib() or 0.0

    def peak(self) -> float:
        """The most in MiB since the last reset."""
        return resident_mib(peak=True) or 0.0

    def reset(self) -> bool:
        """Reset the peak. Returns False if the kernel does not support it."""
        try:
            # Documentation/filesystems/proc.rst: 5 resets the peak resident set size.
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")
        except OSError:
            return False
        return True


class DeviceUsage:
    """What the engine has of a GPU's memory.

    Args:
        memory: The engine's module that counts it.
        index: The GPU's number.
    """

    def __init__(self, memory: Any, index: int) -> None:
        self._memory, self._index = memory, index

    def now(self) -> float:
        """MiB in use."""
        return float(self._memory.allocated_bytes(self._index) / _MIB)

    def peak(self) -> float:
        """The most in MiB since the last reset, without free blocks in the allocator's cache."""
        return float(self._memory.peak_bytes(self._index) / _MIB)

    def reset(self) -> bool:
        """Reset the peak."""
        self._memory.reset_peak(self._index)
        return True


Usage = Union[HostUsage, DeviceUsage]


def make_usage(device: Union[str, int], limit_mib: Optional[float] = None) -> Usage:
    """What reads this process's memory on a device.

    Args:
        device: `cpu`, or the number of a GPU.
        limit_mib: On a GPU, what the process may have; on the CPU the parent process enforces the
            limit.
    """
    if device == "cpu":
        return HostUsage()
    from dualnet.engine.bench import device_memory

    index = int(device)
    if limit_mib is not None:
        device_memory.limit(index, int(limit_mib * _MIB))
    return DeviceUsage(device_memory, index)
