"""Failure detector: whether a neighbour that is waited for will ever answer."""

from __future__ import annotations

from typing import Protocol

from dualnet.errors import DualnetError, NeighbourDied, NeighbourHung, NeighbourNeverCame
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["FailureDetector", "Watched"]

# Time between two checks of the neighbour's heartbeat and process.
_POLL_S = 0.5
# Heartbeats that a neighbour may miss before its `waits_for` no longer counts.
_BELIEVED_BEATS = 3
# What the state of a piece that ended in an error begins with.
_FAILED = "failed: "


class Watched(Protocol):
    """What a `FailureDetector` has to know of a neighbour, however it is reached."""

    piece: str
    epoch: int

    def pulse(self) -> Pulse | None:
        """Its last heartbeat."""

    def process(self) -> ProcessId | None:
        """Its process, None if that is unknown."""


class FailureDetector:
    """Failure detector for one wait: the neighbour never came, failed, died, is hung, or is slow.

    Each poll adds at most 1 s (two poll intervals) to its timers, so that a suspended process or a
    stalled file server does not age the neighbour's heartbeat.

    A neighbour that itself waits for a third piece is not hung: its hang timer does not run while
    its heartbeat says so. Its own detector ends that wait; it then leaves with a final state, whose
    words the error here repeats. Two pieces that wait for each other are both timed.

    Args:
        fs: the clock.
        neighbour: whom to watch.
        piece: who waits for it.
        process: this process.
        settings: the limits.
        path: the exchange directory, for messages.
        what: what is waited for, for messages.

    Attributes:
        initial_epoch: Epoch that already existed when this piece started. If its process turns out
            to be dead, wait `partner_timeout_s` for a new start instead of raising NeighbourDied.
    """

    def __init__(
        self,
        fs: Fs,
        neighbour: Watched,
        piece: str,
        process: ProcessId,
        settings: ExchangeSettings,
        path: str,
        what: str,
    ) -> None:
        self.initial_epoch = -1
        self._fs = fs
        self._neighbour = neighbour
        self._piece = piece
        self._process = process
        self._settings = settings
        self._path = path
        self._what = what
        self._polled_s = fs.monotonic()
        self._epoch = neighbour.epoch
        self._waited_s = 0.0
        self._unchanged_s = 0.0
        self._stalled_s = 0.0
        self._gone_s = 0.0
        self._pulse: Pulse | None = None
        self._nonce = ""

    def poll(self) -> DualnetError | None:
        """Check the neighbour, at most every 0.5 s.

        Returns:
            The error that ends the wait, or None; before raising it, check once more for the
            message.
        """
        now_s = self._fs.monotonic()
        if now_s - self._polled_s < min(_POLL_S, self._settings.dead_after_s / 8):
            return None
        passed_s = min(now_s - self._polled_s, 2 * _POLL_S)
        self._polled_s = now_s
        self._waited_s += passed_s
        neighbour = self._neighbour
        if neighbour.epoch != self._epoch:
            # It was started again: what we knew was about its predecessor.
            self._epoch = neighbour.epoch
            self._pulse = None
            self._waited_s = self._unchanged_s = self._stalled_s = self._gone_s = 0.0
        if neighbour.epoch == 0:
            return self._never_came("did not start")
        self._observe(passed_s)
        reason = self._reason_gone()
        if reason:  # who has ended does not hang, however long a new start takes
            self._stalled_s = 0.0
            return self._judge_gone(reason, passed_s)
        self._gone_s = 0.0
        return self._judge_hung()

    def check_alive(self) -> bool:
        """Whether the neighbour's latest process is certainly alive, checked now."""
        pulse = self._neighbour.pulse()
        if pulse is None or pulse.ended:
            return False
        if self._nonce and pulse.nonce != self._nonce:
            return True
        self._nonce = pulse.nonce
        holder = self._neighbour.process()
        return holder is not None and holder.alive(self._process) is True

    def _observe(self, passed_s: float) -> None:
        pulse, before = self._neighbour.pulse(), self._pulse
        self._unchanged_s += passed_s
        if pulse is None:
            self._stalled_s += passed_s
            return
        if before is not None and pulse.nonce != before.nonce:
            self._unchanged_s = 0.0
        if before is not None and pulse.progress != before.progress:
            self._stalled_s = 0.0
        elif not self._waits_elsewhere(pulse):
            self._stalled_s += passed_s
        self._pulse = pulse

    def _waits_elsewhere(self, pulse: Pulse) -> bool:
        """Whether the neighbour waits for a third piece, as far as a live heartbeat says so."""
        believed_s = max(_BELIEVED_BEATS * self._settings.beat_s, 2 * _POLL_S)
        is_elsewhere = pulse.waits_for not in ("", self._piece)
        return is_elsewhere and self._unchanged_s <= believed_s

    def _never_came(self, what: str) -> DualnetError | None:
        limit_s = self._settings.partner_timeout_s
        if self._waited_s < limit_s:
            return None
        return NeighbourNeverCame(
            f"{self._neighbour.piece} {what} within {limit_s:g} s in {self._path}; start it with "
            f"the same run directory, or raise exchange.partner_timeout_s"
        )

    def _reason_gone(self) -> str:
        """Why the neighbour is known to be gone; "" if it is not."""
        pulse = self._pulse
        if pulse is not None and pulse.ended:
            return _first_cause(pulse.state)
        holder = self._neighbour.process()
        alive = holder.alive(self._process) if holder is not None else None
        if alive is False:
            return f"{holder} no longer exists"
        # A process that we can see alive may be kept from beating by a long call into Caffe.
        if alive is None and self._unchanged_s >= self._settings.dead_after_s:
            return f"its heartbeat has been unchanged for {self._unchanged_s:.0f} s"
        return ""

    def _judge_gone(self, reason: str, passed_s: float) -> DualnetError | None:
        """The error if the neighbour, which is gone, was not started again in time."""
        if self._epoch == self.initial_epoch:
            return self._never_came(f"(epoch {self._epoch}: {reason}) was not started again")
        self._gone_s += passed_s
        if self._gone_s <= self._settings.restart_grace_s:
            return None
        return NeighbourDied(
            f"{self._neighbour.piece} is gone while {self._what} was awaited: {reason} (epoch "
            f"{self._epoch}, {self._path}); see its log, then start all pieces again"
        )

    def _judge_hung(self) -> DualnetError | None:
        if self._stalled_s < self._settings.hang_timeout_s:
            return None
        pulse = self._pulse
        state = f"last state {pulse.state!r}" if pulse is not None else "no heartbeat read"
        return NeighbourHung(
            f"{self._neighbour.piece} is alive but has made no progress for {self._stalled_s:.0f} "
            f"s while {self._what} was awaited ({state}, {self._path}); see its log, or raise "
            f"exchange.hang_timeout_s"
        )


def _first_cause(state: str) -> str:
    """A final state without the pieces in between: net3's words about net4, not net2's about net3.

    A piece that ends because its neighbour failed repeats that one's words; along a chain only the
    piece at fault, and whoever saw it, are to be named.
    """
    before, failed, cause = state.rpartition(_FAILED)
    return f"{_FAILED}{cause}" if failed and before else state
