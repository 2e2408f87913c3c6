"""Processes that users' layers start: what they must not inherit, and how they end.

A layer that users wrote may start a process that makes batches, or a pool of them. A forked one
begins as a copy of this process: with our signal handlers, which would only note the SIGTERM that
is to end it, and with our locks and connections, which would stay open as long as it runs. The
owner of such a thing registers here what undoes it in a forked child.

Children end with this process, too. Forked ones wait on a pipe whose write end this process alone
holds: however it ends, by SIGKILL too, the system closes that end, and the kernel signals them. At
an ordinary end users' own exit handlers run first, and what is left after them is ended. Not
covered: processes that users' code started by exec when this process is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import multiprocessing.util  # registered before ours, so that its exit handler runs after it
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Callable, Optional

__all__ = ["adopt", "close_in_children", "undo_in_children", "watch_exit"]

#: Seconds that children may take to end after SIGTERM.
_GRACE_S = 5.0
_POLL_S = 0.02

_undo: dict[int, Callable[[], None]] = {}
_numbers = iter(range(2**62))
#: (read end, write end, pid of the process that holds the latter), once there is a pipe.
_pipe: Optional[tuple[int, int, int]] = None


def undo_in_children(undo: Callable[[], None]) -> Callable[[], None]:
    """Register a function to be called in each process that is forked from this one.

    Args:
        undo: The function; of a method only a weak reference is kept. Its exceptions are dropped.

    Returns:
        A function that unregisters it.
    """
    number = next(_numbers)
    if hasattr(undo, "__self__"):
        method = weakref.WeakMethod(undo, lambda gone: _undo.pop(number, None) and None)

        def call() -> None:
            found = method()
            if found is not None:
                found()

        _undo[number] = call
    else:
        _undo[number] = undo
    return lambda: _undo.pop(number, None) and None


def close_in_children(sock: socket.socket) -> None:
    """Close a connection or a listening socket in forked processes."""
    held = weakref.ref(sock)

    def close() -> None:
        found = held()
        if found is not None:
            found.close()

    weakref.finalize(sock, undo_in_children(close)).atexit = False


def adopt() -> None:
    """From now on forked processes end when this one does. May be called more than once."""
    global _pipe
    if _pipe is not None and _pipe[2] == os.getpid():
        return
    _pipe = (*os.pipe(), os.getpid())
    atexit.register(_end_children)


def watch_exit(code: int, say: Callable[[str], None], grace_s: float = 2 * _GRACE_S) -> None:
    """End this process although threads or processes of users' code go on. To be called last.

    Threads that are no daemons, and exit handlers that wait for a process, may take `grace_s`.

    Args:
        code: This process's exit code.
        say: Called with a line on what still runs, if the process is ended by force.
        grace_s: Seconds before that.
    """
    others = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    if not others and not _children():
        return

    def end() -> None:
        time.sleep(grace_s)
        names = ", ".join(thread.name for thread in others if thread.is_alive())
        pids = ", ".join(map(str, _children()))
        what = " and ".join(
            text
            for text in (names and f"threads ({names})", pids and f"processes ({pids})")
            if text
        )
        say(f"dualnet: all is done, but {what or 'exit handlers'} of the net's layers go on; "
            "leaving without them")  # fmt: skip
        _end()
        os._exit(code)

    threading.Thread(target=end, name="dualnet-exit", daemon=True).start()


def _children() -> list[int]:
    """Pids of this process's children, without those that clean up after the others."""
    me, found = os.getpid(), []
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []  # no Linux
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[1]) == me and fields[0] != b"Z" and not _cleans_up(name):
                found.append(int(name))
        except OSError:
            continue  # it has ended
    return found


def _cleans_up(name: str) -> bool:
    """Whether it is a helper of multiprocessing or joblib, which ends with its last user."""
    with open(f"/proc/{name}/cmdline", "rb") as file:
        command = file.read()
    return b"resource_tracker" in command or b"forkserver" in command


def _end_children() -> None:
    """End the children that are left, but for multiprocessing's daemons, which it ends itself."""
    if _pipe is not None and _pipe[2] == os.getpid():
        _end([process.pid for process in multiprocessing.active_children() if process.daemon])


def _end(spared: Sequence[Optional[int]] = ()) -> None:
    """End all children but some: by SIGTERM, after `_GRACE_S` by SIGKILL."""

    def left() -> list[int]:
        # Reaps those of multiprocessing that have ended; until then they are in /proc.
        multiprocessing.active_children()
        return [pid for pid in _children() if pid not in spared]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left():
            try:
                os.kill(pid, number)
            except OSError:
                continue  # it has ended
        deadline_s = time.monotonic() + _GRACE_S
        while left() and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)


_masks = threading.local()


def _before() -> None:
    """Before a fork: block signals, for one that the child gets with our handlers would be lost."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _after() -> None:
    """After a fork, in parent and child: deliver what came meanwhile."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    """Right after a fork, in the forked process."""
    for undo in list(_undo.values()):
        try:
            undo()
        except Exception:
            continue  # it cannot be reported in the child
    _undo.clear()
    _end_with_parent()
    _after()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the process that holds the pipe's write end is gone."""
    global _pipe
    if _pipe is None:
        return
    given, held, holder = _pipe
    try:
        if holder != os.getpid() and held >= 0:
            os.close(held)
            _pipe = (given, -1, holder)
        # The receiver of the signal is set per open file description: open one of our own.
        mine = os.open(f"/proc/self/fd/{given}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(mine, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(mine, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(mine, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        if os.read(mine, 1) == b"":
            os.kill(os.getpid(), signal.SIGTERM)  # it is gone already
    except BlockingIOError:
        pass  # it is alive
    except (AttributeError, OSError):
        pass  # no Linux, or no /proc


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
