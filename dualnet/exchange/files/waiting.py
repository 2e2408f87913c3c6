"""The one loop in which a half waits for its partner."""

from __future__ import annotations

from typing import Callable, TypeVar

from dualnet.exchange.channel import Counters
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.neighbour import Watch
from dualnet.exchange.files.polling import Poller
from dualnet.fs import Fs

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting:
    """Looks for something again and again, and looks after the channel meanwhile.

    Args:
        fs: the clock.
        root: the exchange directory, for messages.
        storage: looks go through it.
        counters: `wait_s` is counted.
        poll_cap_s: longest sleep between two looks.
        meanwhile: called after each look that found nothing; raises what ends the wait.

    Attributes:
        meanwhile: as given.
    """

    def __init__(
        self,
        fs: Fs,
        root: str,
        storage: Storage,
        counters: Counters,
        poll_cap_s: float,
        meanwhile: Callable[[], None],
    ) -> None:
        self._fs = fs
        self._root = root
        self._storage = storage
        self._counters = counters
        self._poll_cap_s = poll_cap_s
        self.meanwhile = meanwhile

    def poller(self) -> Poller:
        """The sleeps of one wait."""
        return Poller(self._fs, self._poll_cap_s)

    def until(self, look: Callable[[], T | None], watch: Watch, limit_s: float = float("inf")) -> T:
        """Look until there is something, the partner is given up, or `limit_s` is over.

        Args:
            look: returns what is waited for, or None.
            watch: judges the partner.

        Raises:
            TimeoutError: `limit_s` is over.
            DualnetError: `watch` gave the partner up, or `meanwhile` raised it.
        """
        poller = self.poller()
        try:
            while True:
                result = self._look(look)
                if result is not None:
                    return result
                self.meanwhile()
                error: Exception | None = watch.look()
                if error is None and poller.waited_s > limit_s:
                    error = TimeoutError()
                if error is not None:
                    # It may have come just before the partner went.
                    result = self._look(look)
                    if result is not None:
                        return result
                    raise error
                poller.sleep()
        finally:
            self._counters.wait_s += poller.waited_s

    def _look(self, look: Callable[[], T | None]) -> T | None:
        return self._storage.attempt("read", self._root, look)
