"""Processes that users' code starts within ours: what they must not have of us, and their end.

A layer that users wrote may start a process that makes batches, or a pool of them. A forked one
begins as a copy of this process: with our signal handlers, which would only take note of the
SIGTERM that is to end it; with our locks and connections, which would live on as long as it does.
Whoever has such a thing names here what undoes it in a forked child.

They are to end with us, too. Forked ones are told by a pipe of which this process alone holds one
end: however it ends, by SIGKILL too, the system closes that end, and the kernel signals those that
wait for it. At an ordinary end, users' own exit handlers come first, and what is still there after
them is ended. What cannot be helped is what users' code has started by exec when we are killed.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import multiprocessing.util  # its exit handler is to come after ours, so it must be there before
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Callable, Optional

__all__ = ["adopt", "close_in_children", "undo_in_children", "watch_exit"]

#: How long children may take to end after SIGTERM, and threads and exit handlers at the end.
_GRACE_S = 5.0
_POLL_S = 0.02

_undo: dict[int, Callable[[], None]] = {}
_numbers = iter(range(2**62))
#: (reading end, writing end, the process that holds the latter), once there is a pipe.
_pipe: Optional[tuple[int, int, int]] = None


def undo_in_children(undo: Callable[[], None]) -> Callable[[], None]:
    """Have something done in each process that is forked from this one.

    Args:
        undo: What; of a method's object no reference is kept. Its exceptions are dropped.

    Returns:
        Call it to have this done no more.
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
    """Keep a connection or a listening socket of ours from living on in forked processes."""
    held = weakref.ref(sock)

    def close() -> None:
        found = held()
        if found is not None:
            found.close()

    weakref.finalize(sock, undo_in_children(close)).atexit = False


def adopt() -> None:
    """From now on forked processes end when this one does; more than once changes nothing."""
    global _pipe
    if _pipe is not None and _pipe[2] == os.getpid():
        return
    _pipe = (*os.pipe(), os.getpid())
    atexit.register(_end_children)


def watch_exit(code: int, say: Callable[[str], None], grace_s: float = 2 * _GRACE_S) -> None:
    """Call it last: threads and processes of users' code do not keep this one from its end.

    Threads that are no daemons, and exit handlers that wait for a process, may take `grace_s`.

    Args:
        code: This process's exit code.
        say: Told what kept it, if it is ended so.
        grace_s: How long.
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
    """Processes that this one has started, but for what cleans up after the others."""
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
    """Whether it is multiprocessing's or joblib's: it ends with its last user, and not before."""
    with open(f"/proc/{name}/cmdline", "rb") as file:
        command = file.read()
    return b"resource_tracker" in command or b"forkserver" in command


def _end_children() -> None:
    """End what users' code has left, multiprocessing's daemons and pools excepted: it ends them."""
    if _pipe is not None and _pipe[2] == os.getpid():
        _end([process.pid for process in multiprocessing.active_children() if process.daemon])


def _end(spared: Sequence[Optional[int]] = ()) -> None:
    """End all children but some: by SIGTERM, and those that do not heed it by SIGKILL."""

    def left() -> list[int]:
        # Collects those of multiprocessing that have ended; /proc knows of them until then.
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
    """Before a fork: a signal that comes to the child while it has our handlers would be lost."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _after() -> None:
    """What has come meanwhile is delivered now."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    """Right after a fork, in the forked process."""
    for undo in list(_undo.values()):
        try:
            undo()
        except Exception:
            continue  # nobody there can do anything about it
    _undo.clear()
    _end_with_parent()
    _after()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the process that holds the pipe's other end is gone."""
    global _pipe
    if _pipe is None:
        return
    given, held, holder = _pipe
    try:
        if holder != os.getpid() and held >= 0:
            os.close(held)
            _pipe = (given, -1, holder)
        # The reader of a signal belongs to the open file, which must be this process's own.
        mine = os.open(f"/proc/self/fd/{given}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(mine, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(mine, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(mine, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        if os.read(mine, 1) == b"":
            os.kill(os.getpid(), signal.SIGTERM)  # it has gone before
    except BlockingIOError:
        pass  # it is there
    except (AttributeError, OSError):
        pass  # no Linux, or no /proc


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
