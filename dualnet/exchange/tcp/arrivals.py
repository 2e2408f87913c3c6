"""Messages that have arrived and are not consumed yet, and the digests that prove them."""

from __future__ import annotations

from dataclasses import dataclass

from dualnet.exchange.channel import Message

__all__ = ["Arrival", "Arrivals"]


@dataclass(frozen=True)
class Arrival:
    """A message that has arrived: when its first byte came, and its last."""

    message: Message
    digest: str
    began_s: float
    ended_s: float


class Arrivals:
    """Messages by number, added in order; changed under the wire's lock.

    Attributes:
        nbytes: of the messages that are not consumed yet.
        corrupt: copies of messages that failed a check.
    """

    def __init__(self) -> None:
        self.nbytes = self.corrupt = 0
        #: When the first bad copy of the next message came, with no good one since.
        self._corrupt_s: float | None = None
        self._unread: dict[int, Arrival] = {}
        #: Digests of messages that the neighbour may have to prove.
        self._digests: dict[int, str] = {}

    def add(self, seq: int, arrival: Arrival) -> None:
        """Store message `seq`, the next one."""
        self._unread[seq] = arrival
        self._corrupt_s = None
        self.nbytes += arrival.message.nbytes
        self._digests[seq] = arrival.digest

    def note_corrupt(self, now_s: float) -> float:
        """A copy of the next message has failed a check; returns for how long all copies have."""
        self.corrupt += 1
        if self._corrupt_s is None:
            self._corrupt_s = now_s
        return now_s - self._corrupt_s

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has arrived and is not consumed."""
        return self._unread.get(seq)

    def take(self, seq: int) -> None:
        """Mark message `seq` as consumed by the training loop and release its memory."""
        arrival = self._unread.pop(seq, None)
        if arrival is not None:
            self.nbytes -= arrival.message.nbytes

    def judge(self, seq: int, digest: str) -> str:
        """Compare a digest with that of message `seq` as it arrived: same, different, unknown."""
        known = self._digests.get(seq)
        if known is None:
            return "unknown"
        return "same" if known == digest else "different"

    def forget(self, through: int) -> None:
        """Forget digests that the neighbour will not have to prove any more."""
        # They are in order of their numbers.
        while self._digests and next(iter(self._digests)) <= through:
            del self._digests[next(iter(self._digests))]
