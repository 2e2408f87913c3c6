"""Stopping on SIGTERM, SIGUSR1, SIGHUP and Ctrl-C, so that the same command resumes the training.

The first signal is a request: the iteration is finished, a checkpoint written, the neighbours
informed. That may take `within_s`, less than the 30 s that batch systems commonly leave between
SIGTERM and SIGKILL. After that the process ends as it is, and the run resumes from the last
checkpoint. Further signals change nothing: batch systems signal every process of a job, and the
launcher forwards its own. Processes whose launcher dies without forwarding: lifeline.py. Processes
that users' layers fork get the default handlers: children.py.

An exception that a signal's handler raises can come between any two instructions: in the start of a
thread, an import, a lock. So during set-up signals are only noted (`defer`), and raised where the
process waits: in the sleeps of `StoppableFs` and in `check`.

SIGINT (Ctrl-C) comes from a person. Where the first signal is a request it is one, too, but the
exit code stays 130, and a second one ends the process at once, with KeyboardInterrupt; elsewhere
the first does.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Callable, Optional

from dualnet.children import undo_in_children
from dualnet.fs import Fs

__all__ = ["STOP_SIGNALS", "StoppableFs", "Stopped", "Stopper", "restore_defaults"]

#: SIGHUP (the terminal was closed) only where it is not ignored, as it is under nohup.
STOP_SIGNALS = (
    signal.SIGTERM,
    signal.SIGUSR1,
    *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []),
)


#: Seconds between two checks for signals in a sleep.
_CHECK_S = 0.1


def restore_defaults(ours: Sequence[Any]) -> None:
    """Restore the default handlers in a process that users' code has forked.

    Args:
        ours: Our handlers; those that users' code has set meanwhile stay.
    """
    for number in (*STOP_SIGNALS, signal.SIGALRM):
        if signal.getsignal(number) in ours:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) in ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Stopped(BaseException):
    """A signal ends this process.

    Derives from BaseException, so that `except Exception` does not catch it.

    Args:
        number: The signal.
        remark: From where the training can resume; "" if it cannot.
    """

    def __init__(self, number: int, remark: str = "") -> None:
        name = signal.Signals(number).name
        text = f"stopped by {name}; {remark}" if remark else f"ended by {name}"
        super().__init__(text)
        self.number = number
        self.can_resume = bool(remark)
        #: 0 where the same command resumes, so that a scheduler counts it as a success.
        self.exit_code = 0 if remark and number != signal.SIGINT else 128 + number


class Stopper:
    """A context in which the first signal, of STOP_SIGNALS or Ctrl-C, is a request to stop.

    Outside the main thread, where no signal arrives, it does nothing.

    Args:
        within_s: Seconds that stopping may take after the first signal.

    Attributes:
        requested: Whether a signal has come.
        defers_first_signal: Whether the first signal only sets `requested`. False until there is
            something to save: until then a signal raises Stopped at once.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self.requested = False
        self.defers_first_signal = False
        self._number = int(signal.SIGTERM)
        self._holds = 0
        self._is_deferred = False
        self._is_late = False
        #: Whether Ctrl-C is to end the process, and not to stop the training.
        self._is_abort = False
        self._left_s = -float("inf")
        self._before: dict[int, Any] = {}
        self._forget: Callable[[], None] = lambda: None

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_interrupt)
            self._forget = undo_in_children(self._leave_child)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self._forget()

    def _leave_child(self) -> None:
        restore_defaults([self._on_signal, self._on_alarm, self._on_interrupt])

    def error(self) -> Stopped:
        """The exception for the signal that came."""
        return Stopped(self._number)

    def defer(self) -> None:
        """From now on signals are only noted, and raised by `check` and the sleeps of `fs`."""
        self._is_deferred = True

    def resume(self) -> None:
        """End `defer`. Raises Stopped or KeyboardInterrupt for a signal that came meanwhile."""
        self._is_deferred = False
        self.check()

    def check(self) -> None:
        """Raise for a deferred signal, unless inside `defer_signals`."""
        if self._is_late and not self._holds:
            self._raise()

    @property
    def fs(self) -> Fs:
        """The operating system, with sleeps that end when a signal comes."""
        return StoppableFs(self)

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Defer signals inside the block, such as the writing of a checkpoint."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if not self._is_deferred:
            self.check()

    def cancel_deadline(self) -> None:
        """Cancel the deadline and defer further signals: the last checkpoint is completed."""
        self._is_late = False
        self._holds += 1
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        is_first, self.requested, self._number = not self.requested, True, number
        if not self.defers_first_signal:
            if time.monotonic() - self._left_s >= self.within_s:
                self._leave()  # else the process is ending already, which is not interrupted
        elif is_first:
            signal.setitimer(signal.ITIMER_REAL, max(self.within_s, 0.001))

    def _on_alarm(self, number: int, frame: Optional[FrameType]) -> None:
        self._leave()

    def _on_interrupt(self, number: int, frame: Optional[FrameType]) -> None:
        if self.defers_first_signal and not self.requested:
            self._on_signal(number, frame)
        else:
            self._is_abort = True
            self._leave()

    def _leave(self) -> None:
        if self._holds or self._is_deferred:
            self._is_late = True
        else:
            self._raise()

    def _raise(self) -> None:
        self._is_late, self._left_s = False, time.monotonic()
        raise KeyboardInterrupt if self._is_abort else self.error()


class StoppableFs(Fs):
    """The operating system while signals are deferred: they end its sleeps.

    Args:
        stopper: has the deferred signals.
    """

    def __init__(self, stopper: Stopper) -> None:
        self._stopper = stopper

    def sleep(self, duration_s: float) -> None:
        """See `Fs.sleep`; raises for a signal that has come."""
        until_s = self.monotonic() + duration_s
        while True:
            self._stopper.check()
            left_s = until_s - self.monotonic()
            if left_s <= 0:
                return
            super().sleep(min(left_s, _CHECK_S))
