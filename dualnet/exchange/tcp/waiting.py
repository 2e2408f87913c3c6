"""Wait loop of the carrier tcp."""

from __future__ import annotations

from typing import Callable, TypeVar

from dualnet.errors import NeighbourNeverCame
from dualnet.exchange.channel import Counters
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.watch import FailureDetector
from dualnet.exchange.tcp.neighbour import TcpNeighbour
from dualnet.exchange.tcp.wire import Wire

__all__ = ["Waiting"]

T = TypeVar("T")

# A wait is woken by what it waits for; everything else is attended to so often.
_TICK_S = 0.05


class Waiting:
    """Wait loop: call `poll` whenever anything has arrived until it returns a result.

    In between it calls `Membership.attend` (lease check, other links, on_wait) and the failure
    detector.

    Args:
        membership: ours.
        wire: notifies when anything has arrived.
        neighbour: who is waited for.
        counters: `wait_s` is counted.
        trouble: why there is no connection, "" if nothing is known to be wrong.
    """

    def __init__(
        self,
        membership: Membership,
        wire: Wire,
        neighbour: TcpNeighbour,
        counters: Counters,
        trouble: Callable[[], str],
    ) -> None:
        self._membership = membership
        self._wire = wire
        self._neighbour = neighbour
        self._counters = counters
        self._trouble = trouble

    def until(
        self,
        poll: Callable[[], T | None],
        detector: FailureDetector,
        is_counted: bool = True,
        is_handshake: bool = False,
    ) -> T:
        """Wait until there is a result, or the neighbour is given up.

        Args:
            poll: returns what is waited for, or None.
            detector: judges the neighbour.
            is_counted: whether the time counts as waiting.
            is_handshake: the neighbour may not have started yet, so old heartbeat files are
                ignored.

        Raises:
            DualnetError: `detector` gave the neighbour up, or `attend` raised it.
        """
        fs = self._membership.fs
        started_s = fs.monotonic()
        try:
            while True:
                result = self._poll(poll)
                if result is not None:
                    return result
                self._membership.attend()
                if not is_handshake:
                    self._neighbour.adopt_final_heartbeat()
                error = detector.poll()
                if error is not None:
                    # The message may have arrived just before the neighbour ended: check once more.
                    result = poll()
                    if result is not None:
                        return result
                    trouble = self._trouble()
                    if isinstance(error, NeighbourNeverCame) and trouble:
                        raise NeighbourNeverCame(f"{error} ({trouble})")
                    raise error
        finally:
            if is_counted:
                self._counters.wait_s += fs.monotonic() - started_s

    def _poll(self, poll: Callable[[], T | None]) -> T | None:
        """Poll now, and if there is nothing, once more when anything has arrived."""
        with self._wire.cond:
            result = poll()
            if result is None and self._wire.fatal is None:
                self._wire.cond.wait(_TICK_S)
                result = poll()
        return result
