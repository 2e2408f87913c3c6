"""What to do when the shared directory fails: wait, try again, and give up in the end.

A disk that is full, read-only or slow is usually repaired by somebody; hours of training should not
be lost meanwhile. The heartbeat shows the neighbours why this piece is blocked.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Callable, TypeVar

from dualnet.errors import StorageFailed
from dualnet.exchange.channel import Counters
from dualnet.fs import SYSTEM, Fs

__all__ = ["Storage", "remedy", "wait_for_room"]

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")

#: Pause after the first failure; each further one is twice as long.
FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# A file handle that went stale is found again by opening it from the directory, at once.
_STALE_TRIES = 8

_REMEDIES = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space within the quota",
    errno.EROFS: "the file system became read-only; ask its administrator",
    errno.EACCES: "check who owns the directory and its mode",
    errno.EPERM: "check who owns the directory and its mode",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EFBIG: "raise the limit of file size (ulimit -f)",
    errno.ENOENT: "the directory was removed or renamed; restore it and start again",
    errno.ENOTDIR: "the directory was replaced; restore it and start again",
}

#: Errors that a start waits for.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Storage:
    """Repeats storage operations until they work or time is up.

    Args:
        fs: the clock and the check whether the directory still exists.
        root: the exchange directory.
        timeout_s: how long to try; 0 tries once.
        counters: `storage_retries` is counted.
        on_blocked: called with "blocked:ENOSPC" and the like when an operation fails, and with
            "running" when it works again.

    Attributes:
        timeout_s: as given; may be changed.
    """

    def __init__(
        self,
        fs: Fs,
        root: str,
        timeout_s: float,
        counters: Counters,
        on_blocked: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._fs = fs
        self._root = root
        self.timeout_s = timeout_s
        self._counters = counters
        self._on_blocked = on_blocked

    def attempt(self, what: str, path: str, operation: Callable[[], T]) -> T:
        """Run `operation` until it raises no OSError.

        `operation` must leave nothing behind when it fails, and must handle files that do not exist
        yet itself. FileNotFoundError is retried like other errors; if the directory itself is gone,
        StorageFailed is raised at once.

        Args:
            what: what it does, for the message ("write", "read").
            path: what it does it to.

        Raises:
            StorageFailed: it failed for `timeout_s`, or the directory is gone.
        """
        started_s = self._fs.monotonic()
        pause_s = FIRST_PAUSE_S
        stale = 0
        blocked = False
        while True:
            try:
                result = operation()
            except OSError as error:
                self._counters.storage_retries += 1
                if error.errno == errno.ESTALE and stale < _STALE_TRIES:
                    stale += 1
                    continue
                spent_s = self._fs.monotonic() - started_s
                if self._is_gone(error) or spent_s + pause_s > self.timeout_s:
                    raise self._failed(what, path, error, spent_s) from error
                if not blocked:
                    LOGGER.warning("cannot %s %s: %s; retrying", what, path, error)
                blocked = True
                self._on_blocked(f"blocked:{errno.errorcode.get(error.errno or 0, 'EIO')}")
                self._fs.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            if blocked:
                self._on_blocked("running")
            return result

    def _is_gone(self, error: OSError) -> bool:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return False
        try:
            self._fs.close(self._fs.open(self._root, os.O_RDONLY | os.O_DIRECTORY))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            pass
        return False

    def _failed(self, what: str, path: str, error: OSError, spent_s: float) -> StorageFailed:
        code = errno.errorcode.get(error.errno or 0, "EIO")
        return StorageFailed(
            f"cannot {what} {path}: {code} ({error.strerror}) for {spent_s:.0f} s; {remedy(error)}"
        )


def remedy(error: OSError) -> str:
    """What to do about an error of the disk."""
    return _REMEDIES.get(error.errno or 0, "check the disk, then start this piece again")


def wait_for_room(
    operation: Callable[[], T],
    timeout_s: float,
    fs: Fs = SYSTEM,
    on_blocked: Callable[[str], None] = lambda state: None,
) -> T:
    """Run a start-up operation and retry it while the disk or quota is full.

    Other errors are raised at once, because waiting does not fix them: a path that is wrong, say.

    Args:
        operation: raises OSError, or StorageFailed from one, and leaves nothing half-written then.
        timeout_s: how long to try.
        fs: the clock.
        on_blocked: as for `Storage`.

    Raises:
        OSError, StorageFailed: what `operation` raised last.
    """
    started_s = fs.monotonic()
    pause_s = FIRST_PAUSE_S
    blocked = ""
    while True:
        try:
            result = operation()
        except (OSError, StorageFailed) as error:
            code = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", None)
            if code not in _FULL or fs.monotonic() - started_s + pause_s > timeout_s:
                raise
            if not blocked:
                LOGGER.warning("%s; waiting for room, %g s at most", error, timeout_s)
            blocked = f"blocked:{errno.errorcode[code]}"
            on_blocked(blocked)
            fs.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            continue
        if blocked:
            on_blocked("running")
        return result
