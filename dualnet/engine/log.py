"""Log lines with glog's prefix on standard error, as pycaffe writes them.

Tools that read Caffe's logs take the date and time from the prefix, so every line carries it.
The environment variable `GLOG_minloglevel` (0 info, 1 warning, 2 error) sets the threshold, as it
does for BVLC Caffe.
"""

from __future__ import annotations

import datetime
import os
import sys
import threading

__all__ = ["error", "info", "init_log", "log", "warning"]

_INFO, _WARNING, _ERROR = 0, 1, 2
_LETTERS = "IWE"


def _level_from_environment() -> int:
    try:
        return int(os.environ.get("GLOG_minloglevel", "0"))  # noqa: SIM112 (glog's own name)
    except ValueError:
        return _INFO


_minimum = _level_from_environment()


def init_log(level: int | None = None, logtostderr: bool = True) -> None:
    """Sets the lowest severity that is written.

    Args:
        level: 0 info, 1 warning, 2 error; None keeps the present one.
        logtostderr: accepted for pycaffe's signature; the engine logs to standard error only.
    """
    global _minimum
    if level is not None:
        _minimum = int(level)


def _write(severity: int, message: str, depth: int) -> None:
    if severity < _minimum:
        return
    frame = sys._getframe(depth)
    place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    now = datetime.datetime.now()
    prefix = f"{_LETTERS[severity]}{now:%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {place}]"
    sys.stderr.write(f"{prefix} {message}\n")
    sys.stderr.flush()


def info(message: str) -> None:
    """Writes an information line."""
    _write(_INFO, message, 2)


def warning(message: str) -> None:
    """Writes a warning line."""
    _write(_WARNING, message, 2)


def error(message: str) -> None:
    """Writes an error line."""
    _write(_ERROR, message, 2)


def log(message: str) -> None:
    """Writes an information line on behalf of the caller; pycaffe's `caffe.log`."""
    _write(_INFO, message, 2)
