"""The one loop in which a half on a wire waits for its partner."""

from __future__ import annotations

from typing import Callable, TypeVar

from dualnet.errors import PartnerNeverCame
from dualnet.exchange.channel import Counters
from dualnet.exchange.files.neighbour import Watch
from dualnet.exchange.tcp.neighbour import RemoteHalf
from dualnet.exchange.tcp.wire import Wire
from dualnet.fs import Fs

__all__ = ["Waiting"]

T = TypeVar("T")

# A wait is woken by what it waits for; so often it looks after everything else.
_TICK_S = 0.05


class Waiting:
    """Looks for something whenever anything has come, and looks after the channel meanwhile.

    Args:
        fs: the clock.
        wire: tells when anything has come.
        partner: who is waited for.
        counters: `wait_s` is counted.
        trouble: why there is no connection, "" if nothing is known to be wrong.
        meanwhile: called now and then; raises what ends the wait.
    """

    def __init__(
        self,
        fs: Fs,
        wire: Wire,
        partner: RemoteHalf,
        counters: Counters,
        trouble: Callable[[], str],
        meanwhile: Callable[[], None],
    ) -> None:
        self._fs = fs
        self._wire = wire
        self._partner = partner
        self._counters = counters
        self._trouble = trouble
        self._meanwhile = meanwhile

    def until(
        self,
        look: Callable[[], T | None],
        watch: Watch,
        is_counted: bool = True,
        is_handshake: bool = False,
    ) -> T:
        """Look until there is something, or the partner is given up.

        Args:
            look: returns what is waited for, or None.
            watch: judges the partner.
            is_counted: whether the time counts as waiting.
            is_handshake: whether the partner need not have been there yet.

        Raises:
            DualnetError: `watch` gave the partner up, or `meanwhile` raised it.
        """
        started_s = self._fs.monotonic()
        try:
            while True:
                result = self._look(look)
                if result is not None:
                    return result
                self._meanwhile()
                if not is_handshake:  # before it, what is there may be what a dead one left
                    self._partner.look_for_last_words()
                error = watch.look()
                if error is not None:
                    # It may have come just before the partner went.
                    result = look()
                    if result is not None:
                        return result
                    trouble = self._trouble()
                    if isinstance(error, PartnerNeverCame) and trouble:
                        raise PartnerNeverCame(f"{error} ({trouble})")
                    raise error
        finally:
            if is_counted:
                self._counters.wait_s += self._fs.monotonic() - started_s

    def _look(self, look: Callable[[], T | None]) -> T | None:
        """Look now, and if there is nothing when next anything has come."""
        with self._wire.cond:
            result = look()
            if result is None and self._wire.fatal is None:
                self._wire.cond.wait(_TICK_S)
                result = look()
        return result
