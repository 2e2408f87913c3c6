"""Several trainings at once, each watched by a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable

__all__ = ["descendants", "side_by_side"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def side_by_side(
    numbers: Iterable[int], jobs: int, watch: Callable[[int], dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Call `watch(number)` for each number, in at most `jobs` child processes at a time.

    A child takes over what its own children leave behind, so that `descendants` finds it, and
    ends with this process. SIGTERM ends this process as an exception would, with all of them.

    Args:
        numbers: in the order in which they are begun.
        jobs: children at a time.
        watch: gives a row, JSON-able.

    Yields:
        Number and row, as they come; of a child that failed, a row that says so under `wrong`.
    """
    waiting = iter(numbers)
    running: dict[int, tuple[int, Path]] = {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="dualnet-rows-") as folder:
        try:
            while True:
                while len(running) < jobs:
                    number = next(waiting, None)
                    if number is None:
                        break
                    path = Path(folder, f"{number}.json")
                    running[_fork(number, path, watch)] = number, path
                if not running:
                    return
                pid, status = os.waitpid(-1, 0)
                if pid in running:
                    number, path = running.pop(pid)
                    yield number, _row(path, status)
        finally:
            for pid in running:
                os.kill(pid, signal.SIGTERM)
            for pid in running:
                os.waitpid(pid, 0)
            signal.signal(signal.SIGTERM, before)


def _row(path: Path, status: int) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        row = {"wrong": f"the campaign: a watching process ended with status {status}"}
    return row


def _fork(number: int, path: Path, watch: Callable[[int], dict[str, Any]]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getppid() == parent:
            path.write_text(json.dumps(watch(number)))
    except BaseException:
        text = traceback.format_exc()
        path.write_text(json.dumps({"wrong": f"the campaign: {text}"}))
    finally:
        os._exit(0)


def descendants(pid: int) -> dict[int, str]:
    """The processes that come from `pid`, zombies left out: number and command line."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            state, parent = text[text.rindex(")") + 2 :].split()[:2]
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(name))
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        for child in parents.get(todo.pop(), ()):
            todo.append(child)
            try:
                words = Path("/proc", str(child), "cmdline").read_bytes()
            except OSError:
                continue
            found[child] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found
