"""How long to sleep between two polls of the shared directory."""

from __future__ import annotations

from dualnet.fs import Fs

__all__ = ["Poller"]

_SHORTEST_S = 0.0002
_SHARE = 0.05


class Poller:
    """Poll interval: 5 % of the time waited so far, at least 0.2 ms, at most `cap_s`.

    So a message is noticed at most 5 % of the wait late.

    Args:
        fs: the clock.
        cap_s: longest sleep; bounds what an idle piece costs the file server.
    """

    def __init__(self, fs: Fs, cap_s: float) -> None:
        self._fs = fs
        self._cap_s = max(cap_s, _SHORTEST_S)
        self._started_s = fs.monotonic()

    @property
    def waited_s(self) -> float:
        """Time since the wait began."""
        return self._fs.monotonic() - self._started_s

    def sleep(self) -> None:
        """Sleep before the next poll."""
        self._fs.sleep(min(max(_SHARE * self.waited_s, _SHORTEST_S), self._cap_s))
