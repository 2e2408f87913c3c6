"""An exchange within one process, for tests: two threads hold its two ends."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dualnet.errors import ManifestMismatch, NeighbourDied, NeighbourHung
from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.link import Link

LINK = Link("net1", "net2")


@dataclass
class Line:
    """What both ends share."""

    #: What is under way, by receiver; None: the sender has left.
    queues: dict[str, queue.Queue] = field(
        default_factory=lambda: {piece: queue.Queue() for piece in (LINK.lower, LINK.upper)}
    )
    #: (sender, message) in the order in which they were sent.
    sent: list[tuple[str, Message]] = field(default_factory=list)
    #: How each end has left.
    states: dict[str, str] = field(default_factory=dict)

    def kinds(self) -> list[tuple[str, str, int]]:
        """(sender, kind, iteration) of every message, in order."""
        return [(sender, message.kind, message.iteration) for sender, message in self.sent]

    def arrays(self, kind: str) -> dict[int, dict[str, np.ndarray]]:
        """Iteration to arrays of the messages of one kind."""
        return {m.iteration: m.arrays for _, m in self.sent if m.kind == kind}


class MemoryChannel(Channel):
    """One end of a Line. Waits are bounded, so that a bug fails a test and never hangs it."""

    def __init__(self, piece: str, line: Line, timeout_s: float = 60.0) -> None:
        self.link = LINK
        self.piece, self.neighbour = piece, LINK.other(piece)
        self.counters = Counters()
        self.line = line
        self.timeout_s = timeout_s

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        self.line.queues[self.neighbour].put(hello)
        return self._next()

    def resume(self, seq_sent: int, seq_received: int) -> None:
        raise NotImplementedError("nothing is kept here to resume from")

    def send(self, message: Message) -> None:
        copies = {name: np.array(values) for name, values in message.arrays.items()}
        copy = Message(message.kind, message.iteration, copies)
        self.line.sent.append((self.piece, copy))
        self.line.queues[self.neighbour].put(copy)
        self.counters.messages_sent += 1
        self.counters.bytes_sent += copy.nbytes

    def receive(self, kind: str, iteration: int) -> Message:
        message = self._next()
        if (message.kind, message.iteration) != (kind, iteration):
            raise ManifestMismatch(
                f"{self.piece} expected {kind} {iteration}, got {message.kind} {message.iteration}"
            )
        self.counters.messages_received += 1
        self.counters.bytes_received += message.nbytes
        return message

    def checkpoint_passed(self, iteration: int) -> None:
        """Nothing is kept."""

    @property
    def seq_sent(self) -> int:
        return self.counters.messages_sent

    @property
    def seq_received(self) -> int:
        return self.counters.messages_received

    def __enter__(self) -> MemoryChannel:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.close("done" if error is None else f"failed: {type(error).__name__}: {error}")

    def close(self, state: str = "done", wait: bool = True) -> None:
        self.line.states[self.piece] = state
        self.line.queues[self.neighbour].put(None)

    def _next(self) -> Any:
        try:
            item = self.line.queues[self.piece].get(timeout=self.timeout_s)
        except queue.Empty:
            raise NeighbourHung(f"{self.neighbour} sent nothing for {self.timeout_s} s") from None
        if item is None:
            raise NeighbourDied(f"{self.neighbour} left: {self.line.states[self.neighbour]}")
        return item
