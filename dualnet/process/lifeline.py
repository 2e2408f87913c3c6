"""Stops child processes when their parent dies.

A child's standard input is a pipe whose write end only the parent holds and never writes to.
However the parent ends, by SIGKILL too, the system closes that end; at end of file the child sends
itself SIGTERM. Linux's PR_SET_PDEATHSIG is bound to the thread that started the child, and comes
too late for a parent that ended before the child asked for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["FLAG", "Lifeline", "stop_at_end_of_input"]

#: The option of `dualnet` that calls `stop_at_end_of_input`.
FLAG = "--stop-at-eof"


class Lifeline:
    """The parent's end of the pipe, as a context; its children stop when it closes."""

    def __enter__(self) -> Lifeline:
        # Not inheritable: children get the read end as standard input, and never the write end.
        self._given, self._held = os.pipe()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._given)
        os.close(self._held)

    def start(self, arguments: Sequence[str], **settings: Any) -> subprocess.Popen[Any]:
        """Start a `dualnet` command that stops when its standard input ends.

        Args:
            arguments: What follows `dualnet` on the command line, but for `FLAG`.
            **settings: Further arguments of Popen.

        Raises:
            OSError: As the system says.
        """
        command = [sys.executable, "-m", "dualnet", *arguments, FLAG]
        return subprocess.Popen(command, stdin=self._given, **settings)


def stop_at_end_of_input() -> None:
    """In the child: at end of file of standard input, send SIGTERM to the calling thread.

    Ctrl-C, which a terminal sends to parent and children alike, is left to the parent: it stops the
    children as on SIGTERM, or ends them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    caller = threading.get_ident()

    def watch() -> None:
        try:
            while os.read(0, 1 << 12):
                pass  # its content does not matter
        except OSError:
            pass  # a closed input counts as ended
        signal.pthread_kill(caller, signal.SIGTERM)

    threading.Thread(target=watch, name="dualnet-input", daemon=True).start()
