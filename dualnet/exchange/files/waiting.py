"""Poll loop of the files carrier."""

from __future__ import annotations

from typing import Callable, TypeVar

from dualnet.exchange.channel import Counters
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.polling import Poller
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.watch import FailureDetector

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting:
    """Poll loop: call `poll` until it returns a result.

    Between polls it calls `Membership.attend` (lease check, resend requests, on_wait) and the
    failure detector.

    Args:
        membership: ours.
        storage: polls go through it.
        root: the link's folder, for messages.
        counters: `wait_s` is counted.
    """

    def __init__(
        self, membership: Membership, storage: Storage, root: str, counters: Counters
    ) -> None:
        self._membership = membership
        self._storage = storage
        self._root = root
        self._counters = counters

    def poller(self) -> Poller:
        """The sleeps of one wait."""
        return Poller(self._membership.fs, self._membership.policy.poll_cap_s)

    def attend(self) -> None:
        """See `Membership.attend`."""
        self._membership.attend()

    def until(
        self,
        poll: Callable[[], T | None],
        detector: FailureDetector,
        limit_s: float = float("inf"),
    ) -> T:
        """Poll until there is a result, the neighbour is given up, or `limit_s` is over.

        Args:
            poll: returns what is waited for, or None.
            detector: judges the neighbour.

        Raises:
            TimeoutError: `limit_s` is over.
            DualnetError: `detector` gave the neighbour up, or `attend` raised it.
        """
        poller = self.poller()
        try:
            while True:
                result = self._poll(poll)
                if result is not None:
                    return result
                self.attend()
                error: Exception | None = detector.poll()
                if error is None and poller.waited_s > limit_s:
                    error = TimeoutError()
                if error is not None:
                    # The message may have been published just before the neighbour ended: check
                    # once more.
                    result = self._poll(poll)
                    if result is not None:
                        return result
                    raise error
                poller.sleep()
        finally:
            self._counters.wait_s += poller.waited_s

    def _poll(self, poll: Callable[[], T | None]) -> T | None:
        return self._storage.attempt("read", self._root, poll)
