"""Messages that come over the wire, in order and only once, and whether they equal earlier ones.

A piece that continues from a checkpoint sends messages again. Its neighbour has them already: it
compares digests and sends the verdict.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from dualnet.errors import DamagedMessage, DeterminismViolated, DualnetError
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.arrivals import Arrival, Arrivals
from dualnet.exchange.tcp.connection import ConnectionLost, CorruptMessage
from dualnet.exchange.tcp.neighbour import PeerStatus, TcpNeighbour
from dualnet.exchange.tcp.sender import Sender

__all__ = ["Incoming"]

LOGGER = logging.getLogger(__name__)

# Digests that are remembered where no piece can be started again.
_FEW = 64


class Incoming:
    """Shared by the reader thread and the training thread.

    Args:
        status: this end's.
        neighbour: who sends.
        sender: sends the replies.
        settings: limits.

    Attributes:
        cond: guards all that is here, `status` too; notified when anything has arrived or changed.
        arrivals: messages that have arrived and are not consumed yet.
        fatal: the error that ends the exchange.
        verified: numbers of messages that equalled those of an earlier process of ours.
    """

    def __init__(
        self,
        status: PeerStatus,
        neighbour: TcpNeighbour,
        sender: Sender,
        settings: ExchangeSettings,
    ) -> None:
        self.cond = threading.Condition()
        self.arrivals = Arrivals()
        self.fatal: DualnetError | None = None
        self.verified: set[int] = set()
        self.status = status
        self._neighbour = neighbour
        self._sender = sender
        self._settings = settings

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has arrived."""
        return self.arrivals.peek(seq)

    def take(self, seq: int) -> None:
        """Mark message `seq` as consumed by the training loop and release its memory."""
        with self.cond:
            self.arrivals.take(seq)
            self.status.received = seq
            self.cond.notify_all()

    def put(self, seq: int, arrival: Arrival) -> None:
        """Store an arrived message (from the socket or from the directory).

        A duplicate with another digest is answered with the verdict "different".

        Raises:
            ConnectionLost: one before it is missing.
        """
        with self.cond:
            if seq > self.status.arrived + 1 or self.status.arrived < 0:
                raise ConnectionLost(f"message {seq} where {self.status.arrived + 1} was due")
            if seq <= self.status.arrived:
                if self.arrivals.judge(seq, arrival.digest) == "different":
                    self._sender.reply(_verdict(seq, "different"))
                return
            self.arrivals.add(seq, arrival)
            self.status.arrived = seq
            self.arrivals.forget(self._proved_through())
            self.cond.notify_all()
        self._sender.acknowledge()

    def request_resend(self, error: CorruptMessage) -> None:
        """Handle a corrupt message: the resend comes over the next connection.

        After `resend_timeout_s` without a good copy, end the exchange with DamagedMessage.
        """
        piece = self._neighbour.piece
        with self.cond:
            spent_s = self.arrivals.note_corrupt(time.monotonic())
            seq = self.status.arrived + 1
        if spent_s == 0:
            LOGGER.warning(
                "message %d of %s is damaged: %s; requesting a resend", seq, piece, error
            )
        elif spent_s > self._settings.resend_timeout_s:
            self.fail(
                DamagedMessage(
                    f"message {seq} of {piece}: damaged even when resent for {spent_s:.0f} s "
                    f"({error}); check the memory of both nodes and what lies between them"
                )
            )

    def judge(self, seq: int, digest: str) -> None:
        """Compare the digest that the neighbour claims for a replayed message; send the verdict."""
        with self.cond:
            verdict = self.arrivals.judge(seq, digest)
        self._sender.reply(_verdict(seq, verdict))

    def accept(self, seq: int, verdict: str) -> None:
        """Handle the neighbour's verdict on our replayed message: same, different, unknown.

        "different" ends the run with DeterminismViolated.
        """
        if verdict == "different":
            self.fail(
                DeterminismViolated(
                    f"message {seq} differs from the one that {self._neighbour.piece} got before "
                    f"the restart; use the same machine type, threads and libraries, or a new run "
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
        """Number of the last message that the neighbour will not have to prove any more."""
        if self._settings.retain:
            return self._neighbour.status.checkpointed_sent
        return self.status.arrived - _FEW


def _verdict(seq: int, verdict: str) -> dict[str, Any]:
    return {"type": "verdict", "seq": seq, "is": verdict}
