"""What has come: messages that nobody has taken yet, and the digests that prove them."""

from __future__ import annotations

from dataclasses import dataclass

from dualnet.exchange.channel import Message

__all__ = ["Arrival", "Arrivals"]


@dataclass(frozen=True)
class Arrival:
    """A message that has come: when its first byte came, and its last."""

    message: Message
    digest: str
    began_s: float
    ended_s: float


class Arrivals:
    """Messages by number, added in order; changed under the wire's lock.

    Attributes:
        nbytes: of the messages that nobody has taken yet.
        spoiled: copies of messages that failed a check.
    """

    def __init__(self) -> None:
        self.nbytes = self.spoiled = 0
        #: When the first bad copy of the next message came, with no good one since.
        self._spoiled_s: float | None = None
        self._unread: dict[int, Arrival] = {}
        #: Digests of what has come, as long as the partner may have to prove them.
        self._digests: dict[int, str] = {}

    def add(self, seq: int, arrival: Arrival) -> None:
        """Message `seq`, the next one, has come."""
        self._unread[seq] = arrival
        self._spoiled_s = None
        self.nbytes += arrival.message.nbytes
        self._digests[seq] = arrival.digest

    def spoil(self, now_s: float) -> float:
        """A copy of the next message has failed a check; returns for how long they have."""
        self.spoiled += 1
        if self._spoiled_s is None:
            self._spoiled_s = now_s
        return now_s - self._spoiled_s

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has come and was not taken."""
        return self._unread.get(seq)

    def take(self, seq: int) -> None:
        """Message `seq` has been read."""
        arrival = self._unread.pop(seq, None)
        if arrival is not None:
            self.nbytes -= arrival.message.nbytes

    def judge(self, seq: int, digest: str) -> str:
        """Whether the message with this digest is the one that came: same, different, unknown."""
        known = self._digests.get(seq)
        if known is None:
            return "unknown"
        return "same" if known == digest else "different"

    def forget(self, through: int) -> None:
        """Drop digests that the partner will not have to prove any more."""
        # In order of their numbers, so the old ones come first.
        while self._digests and next(iter(self._digests)) <= through:
            del self._digests[next(iter(self._digests))]
