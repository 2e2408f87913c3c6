"""What is done to a new process before its command begins: it lacks something, or will die."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dualnet.cli
from scripts.fault_campaign.draw import Life
from scripts.fault_campaign.moments import kill_at

__all__ = ["SIGNALS", "arm", "held_signals", "main"]

#: That ask a process to end, or end it.
SIGNALS = {name: getattr(signal, f"SIG{name}") for name in ("KILL", "TERM", "INT", "USR1", "HUP")}


def main(words: list[str]) -> int:
    """The `dualnet` command, with Ctrl-C as a new interpreter has it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return dualnet.cli.main(words)


@contextmanager
def held_signals() -> Iterator[None]:
    """None arrives between a fork and what `arm` does about them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def arm(life: Life) -> None:
    """In the new process: take from it what its life is to lack."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS.values())
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    if life.point is not None:
        module, owner, name, side, nth = life.point
        kill_at((module, owner, name), side, nth)
    if life.memory_mib is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (life.memory_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if life.files is not None:
        most = len(os.listdir("/proc/self/fd")) - 1 + life.files
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
