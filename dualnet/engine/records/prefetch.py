"""Preparing batches ahead of time in a thread, as Caffe's data layers do."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, Callable, TypeVar

__all__ = ["Prefetcher"]

T = TypeVar("T")
_STOP = object()


class Prefetcher:
    """Draws items from an iterator in a thread and hands them out in order.

    The thread ends with the prefetcher: at `close`, when it is collected, or with the process. An
    exception in the thread is raised by `take`. A forked process, which has no such thread, starts
    one of its own: the next item there is the one that was next when it was forked.

    Args:
        source: makes the iterator, in the thread.
        depth: how many items to prepare ahead.
    """

    def __init__(self, source: Callable[[], Iterator[Any]], depth: int) -> None:
        self._source = source
        self._depth = max(1, depth)
        self._taken = 0
        self._begin(source)

    def _begin(self, source: Callable[[], Iterator[Any]]) -> None:
        """Starts the thread; in a forked process, with a queue of its own.

        The parent's queue stays unused there: a lock of it may have been held at the fork.
        """
        self._pid = os.getpid()
        self._items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(self._depth)
        self._stop = threading.Event()
        # The thread must not refer to this object, or it would never be collected.
        threading.Thread(
            target=_run, args=(source, self._items, self._stop), name="prefetch", daemon=True
        ).start()
        weakref.finalize(self, _close, self._items, self._stop, self._pid)

    def take(self) -> Any:
        """The next item; waits until it is ready."""
        if self._pid != os.getpid():
            self._begin(partial(_from, self._source, self._taken))
        item, problem = self._items.get()
        if problem is not None:
            self._items.put((item, problem))  # put it back: later calls raise the same error
            raise problem
        self._taken += 1
        return item

    def close(self) -> None:
        """Ends the thread."""
        _close(self._items, self._stop, self._pid)


def _from(source: Callable[[], Iterator[Any]], start: int) -> Iterator[Any]:
    return islice(source(), start, None)


def _run(source: Callable[[], Iterator[Any]], items: Any, stop: threading.Event) -> None:
    try:
        for item in source():
            if not _put(items, (item, None), stop):
                return
        _put(items, (_STOP, StopIteration()), stop)
    except BaseException as problem:
        _put(items, (_STOP, problem), stop)


def _put(items: Any, entry: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            items.put(entry, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _close(items: Any, stop: threading.Event, pid: int) -> None:
    if pid != os.getpid():
        return  # a parent's: a lock of it may have been held when this process was forked
    stop.set()
    while True:  # wake a thread that waits for room
        try:
            items.get_nowait()
        except queue.Empty:
            return
