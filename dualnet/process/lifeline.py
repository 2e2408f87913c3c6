"""Processes of ours that do not outlive us: a pipe that ends with the one who holds it.

A child's standard input is a pipe whose other end its parent holds and never writes to. However the
parent ends, by SIGKILL too, the system closes that end, and the child takes the end of its input
for SIGTERM. Linux's PR_SET_PDEATHSIG would mean the thread that started the child, and come too
late for a parent that has ended before the child asked.
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
    """The parent's end, a context: whoever was started inside stops at its end at the latest."""

    def __enter__(self) -> Lifeline:
        # Neither end is inherited but as standard input: this process alone holds the other.
        self._given, self._held = os.pipe()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._given)
        os.close(self._held)

    def start(self, arguments: Sequence[str], **settings: Any) -> subprocess.Popen[Any]:
        """Start a `dualnet` command that heeds its standard input.

        Args:
            arguments: What follows `dualnet` on the command line, but for `FLAG`.
            **settings: Further ones of Popen.

        Raises:
            OSError: As the system says.
        """
        command = [sys.executable, "-m", "dualnet", *arguments, FLAG]
        return subprocess.Popen(command, stdin=self._given, **settings)


def stop_at_end_of_input() -> None:
    """The child's end: that of standard input stops this process as SIGTERM to this thread does."""
    caller = threading.get_ident()

    def watch() -> None:
        try:
            while os.read(0, 1 << 12):
                pass  # whatever it says
        except OSError:
            pass  # nothing can come from there any more
        signal.pthread_kill(caller, signal.SIGTERM)

    threading.Thread(target=watch, name="dualnet-input", daemon=True).start()
