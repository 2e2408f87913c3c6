"""Other processes, as /proc shows them."""

from __future__ import annotations

import os
import time

#: Longest wait for something that another process is to do.
LIMIT_S = 60.0


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid):
    """The processes that `pid` has started, from /proc, but for multiprocessing's tracker.

    That one stays until its process ends, whoever was the first to use multiprocessing.
    """
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                is_child = int(file.read().rpartition(")")[2].split()[1]) == pid
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if is_child and b"multiprocessing.resource_tracker" not in file.read():
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_for(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)
