"""Signals that stop a solver or make it snapshot (Caffe `util/signal_handler.cpp`).

The handlers only record the signal; the solver asks once an iteration, and tests once a batch.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from dualnet.engine.errors import SolverError

__all__ = ["EFFECTS", "SignalActions"]

#: What a signal may do.
EFFECTS = ("stop", "snapshot", "none")


class SignalActions:
    """Context manager that turns SIGINT and SIGHUP into what a solver should do.

    Args:
        sigint: the effect of SIGINT, one of `EFFECTS`.
        sighup: the effect of SIGHUP.

    Raises:
        SolverError: an effect is unknown.
    """

    def __init__(self, sigint: str = "stop", sighup: str = "snapshot") -> None:
        for effect in (sigint, sighup):
            if effect not in EFFECTS:
                raise SolverError(
                    f'Invalid signal effect "{effect}" was specified; the effects are: '
                    f"{', '.join(EFFECTS)}"
                )
        self._effects = {signal.SIGINT: sigint}
        if hasattr(signal, "SIGHUP"):  # not on Windows
            self._effects[signal.SIGHUP] = sighup
        self._pid = os.getpid()
        self._pending: list[str] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalActions:
        if threading.current_thread() is threading.main_thread():  # Python allows no other
            for number in self._effects:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> str:
        """The oldest effect not yet asked for, `none` without any."""
        return self._pending.pop(0) if self._pending else "none"

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # forked by a layer: no solver asks there, so end as usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        effect = self._effects[signal.Signals(number)]
        if effect not in self._pending:
            self._pending.append(effect)
