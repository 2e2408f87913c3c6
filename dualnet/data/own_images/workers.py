"""The same work on many things in several processes, with the results in the things' order."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Callable, TypeVar

from dualnet.errors import DualnetError

__all__ = ["ordered_map", "usable_cores"]

T = TypeVar("T")
R = TypeVar("R")

#: Things that a process gets at a time, and such chunks for each process that may be under way.
_CHUNK = 8
_AHEAD = 3


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def ordered_map(work: Callable[[T], R], things: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `work(thing)` for each thing, in their order, whatever the number of processes.

    Args:
        work: Can be pickled, and so can what it takes and gives.
        things: Read only as far as there are processes to work on them.
        workers: How many processes; 1 works in this one.

    Raises:
        DualnetError: A process died.
        Exception: What `work` raises.
    """
    if workers <= 1:
        yield from map(work, things)
        return
    rest = iter(things)
    # Not by fork: a database may be open here, and PyTorch's threads may run.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    under_way: deque[Future[list[R]]] = deque()
    try:
        while True:
            while len(under_way) < _AHEAD * workers:
                chunk = list(islice(rest, _CHUNK))
                if not chunk:
                    break
                under_way.append(pool.submit(_work_on, work, chunk))
            if not under_way:
                return
            yield from under_way.popleft().result()
    except BrokenProcessPool as error:
        raise DualnetError(
            f"one of {workers} worker processes died, as a system short of memory kills them: give "
            "fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work_on(work: Callable[[T], R], chunk: list[T]) -> list[R]:
    return [work(thing) for thing in chunk]


def _begin() -> None:
    """Leave signals from the terminal to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
