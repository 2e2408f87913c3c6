"""`python -m dualnet` is the `dualnet` command."""

from __future__ import annotations

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # While all is imported, Ctrl-C ends the process as it ends others, and prints no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from dualnet.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
