"""What comes over the wire, in order and only once, and whether it is what came before.

A half that continues from a checkpoint sends messages again. The other one has them already: it
compares digests, and says what it found.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from dualnet.errors import DamagedMessage, DeterminismViolated, DualnetError
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.arrivals import Arrival, Arrivals
from dualnet.exchange.tcp.connection import Broken, Spoiled
from dualnet.exchange.tcp.neighbour import RemoteHalf, Standing
from dualnet.exchange.tcp.sender import Sender

__all__ = ["Incoming"]

LOGGER = logging.getLogger(__name__)

# Digests that are remembered where no half can be started again.
_FEW = 64


class Incoming:
    """One half's side of it; the reader's thread and the training's use it.

    Args:
        standing: where this half stands.
        partner: who sends.
        sender: takes what there is to answer.
        settings: limits.

    Attributes:
        cond: guards all that is here, `standing` too; notified when anything has come or changed.
        arrivals: what has come and was not taken yet.
        fatal: what ends the exchange.
        verified: numbers of messages that equalled those of an earlier process of ours.
    """

    def __init__(
        self, standing: Standing, partner: RemoteHalf, sender: Sender, settings: ExchangeSettings
    ) -> None:
        self.cond = threading.Condition()
        self.arrivals = Arrivals()
        self.fatal: DualnetError | None = None
        self.verified: set[int] = set()
        self.standing = standing
        self._partner = partner
        self._sender = sender
        self._settings = settings

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has come."""
        return self.arrivals.peek(seq)

    def take(self, seq: int) -> None:
        """Message `seq` has been read."""
        with self.cond:
            self.arrivals.take(seq)
            self.standing.received = seq
            self.standing.progress += 1
            self.cond.notify_all()

    def put(self, seq: int, arrival: Arrival) -> None:
        """A message has come, by whatever way; one that is there already must be the same.

        Raises:
            Broken: one before it is missing.
        """
        with self.cond:
            if seq > self.standing.arrived + 1 or self.standing.arrived < 0:
                raise Broken(f"message {seq} where {self.standing.arrived + 1} was due")
            if seq <= self.standing.arrived:
                if self.arrivals.judge(seq, arrival.digest) == "different":
                    self._sender.reply(_verdict(seq, "different"))
                return
            self.arrivals.add(seq, arrival)
            self.standing.arrived = seq
            self.arrivals.forget(self._proved_through())
            self.cond.notify_all()
        self._sender.tell()

    def bear(self, error: Spoiled) -> None:
        """Have a message sent anew by a new connection, unless that has been in vain for long."""
        role = self._partner.role
        with self.cond:
            spent_s = self.arrivals.spoil(time.monotonic())
            seq = self.standing.arrived + 1
        if spent_s == 0:
            LOGGER.warning("message %d of %s is damaged: %s; asking for it anew", seq, role, error)
        elif spent_s > self._settings.resend_timeout_s:
            self.fail(
                DamagedMessage(
                    f"message {seq} of {role}: damaged even when sent anew for {spent_s:.0f} s "
                    f"({error}); check the memory of both nodes and what lies between them"
                )
            )

    def judge(self, seq: int, digest: str) -> None:
        """Tell the partner whether a message of its is the one that came before."""
        with self.cond:
            verdict = self.arrivals.judge(seq, digest)
        self._sender.reply(_verdict(seq, verdict))

    def accept(self, seq: int, verdict: str) -> None:
        """What the partner says of message `seq` of ours: same, different, unknown."""
        if verdict == "different":
            self.fail(
                DeterminismViolated(
                    f"message {seq} differs from the one that {self._partner.role} got before the "
                    f"restart; use the same machine type, threads and libraries, or a new run "
                    f"directory"
                )
            )
        with self.cond:
            if verdict == "same":
                self.verified.add(seq)
            self._sender.proved = max(self._sender.proved, seq)
            self.cond.notify_all()

    def fail(self, error: DualnetError) -> None:
        """End the exchange; the first error counts."""
        with self.cond:
            self.fatal = self.fatal or error
            self.cond.notify_all()

    def _proved_through(self) -> int:
        """The last message that the partner will not have to prove any more."""
        if self._settings.retain:
            return self._partner.standing.passed_sent
        return self.standing.arrived - _FEW


def _verdict(seq: int, verdict: str) -> dict[str, Any]:
    return {"type": "verdict", "seq": seq, "is": verdict}
