"""What the two halves say to each other, whatever carries it.

A training loop sees only this file: it sends a message, and it receives the message that it expects
next. Carriers (files, later sockets) implement `Channel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable

import numpy as np

__all__ = ["Channel", "Counters", "Message", "PARTNER", "ROLES"]

#: The half that each half talks to.
PARTNER = {"net1": "net2", "net2": "net1"}
ROLES = tuple(PARTNER)


@dataclass(frozen=True)
class Message:
    """Arrays that one half hands to the other at one point of the algorithm.

    Args:
        stage: what the message is for ("train", "test", "weights"): 1 to 32 characters of
            a-z, 0-9, "_" and "-".
        iteration: iteration that the message belongs to, >= 0.
        arrays: named arrays of any shape, for example {"pool2": (N, C, H, W) float32,
            "label": (N,) float32}. Booleans, integers, floats and complex numbers; no objects.
    """

    stage: str
    iteration: int
    arrays: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of data, headers not counted."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass
class Counters:
    """What a channel has done so far, for status lines and logs."""

    #: Bytes of array data.
    bytes_sent: int = 0
    bytes_received: int = 0
    #: Bytes that would have been more in float32 (`exchange.dtype`).
    saved_sent: int = 0
    saved_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    #: Time in `receive` and `handshake` until the partner had the message ready.
    wait_s: float = 0.0
    #: Time in writing, reading and verifying.
    exchange_s: float = 0.0
    #: Reads that found a damaged or missing file, and messages sent anew on request.
    damaged_reads: int = 0
    resends: int = 0
    #: Storage operations that failed and were tried again.
    storage_retries: int = 0
    #: Messages sent again after a restart that matched the recorded ones bit for bit.
    replays_verified: int = 0


class Channel(ABC):
    """One half's end of the exchange; a context manager that tells the partner how it ended.

    Messages are numbered 1, 2, 3, … in each direction and are received in the order in which they
    were sent. Several may be under way in one direction. One thread uses a channel.

    Attributes:
        role: "net1" or "net2".
        partner: the other one.
        counters: what has been done so far.
        on_wait: called again and again while a call waits for the partner; what it raises ends the
            wait.
        awaited: what the present call waits for, as "down 12"; "" outside.
    """

    role: str
    partner: str
    counters: Counters
    on_wait: Callable[[], None] | None = None
    awaited: str = ""

    @abstractmethod
    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """Publish what this half has, wait for the partner's description and return it.

        Call it once, before the first message. `hello` is small (16 KiB) and JSON-able, for example
        {"checkpoints": [100, 200], "threads": 4}.

        Raises:
            PartnerNeverCame: the partner did not start within `partner_timeout_s`.
        """

    @abstractmethod
    def resume(self, seq_sent: int, seq_received: int) -> None:
        """Continue from a checkpoint, made when this many messages were sent and received.

        Call it after `handshake` and before the first message. Messages that are sent again must
        equal the recorded ones bit for bit.

        Raises:
            DamagedMessage: a message that would be needed is no longer there.
        """

    @abstractmethod
    def send(self, message: Message) -> None:
        """Hand `message` to the partner; the arrays may be reused as soon as this returns.

        Raises:
            UsageError: a bad name, an array of objects, a message over `max_message_bytes`.
            StorageFailed, Superseded, DeterminismViolated: see `dualnet.errors`.
        """

    @abstractmethod
    def receive(self, stage: str, iteration: int) -> Message:
        """Wait for the partner's next message, verify it and return it.

        The arrays are freshly allocated, C-contiguous and the caller's own.

        Args:
            stage, iteration: what the next message has to be.

        Raises:
            PartnerNeverCame, PartnerDied, PartnerHung: the bounded waits.
            DamagedMessage: announced, but not readable even when sent anew.
            ManifestMismatch: the partner's next message is another one: the halves are out of step.
        """

    @abstractmethod
    def checkpoint_passed(self, iteration: int) -> None:
        """Say that a durable checkpoint of this half holds everything up to now.

        Call it when the checkpoint is on disk, before the next message is sent or received. Old
        messages that no checkpoint of either half needs any more are deleted.
        """

    @property
    @abstractmethod
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts; belongs in the checkpoint."""

    @property
    @abstractmethod
    def seq_received(self) -> int:
        """Messages received, counted over all restarts; belongs in the checkpoint."""

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to hold besides the counts of messages, {} for most channels."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:  # noqa: B027 - nothing to restore
        """Take over what `state` gave when the checkpoint was made; call it before `resume`."""

    @abstractmethod
    def close(self, state: str = "done", wait: bool = True) -> None:
        """Leave, telling the partner how: "done", "stopped" or "failed: <why>".

        Args:
            state: With "done" it first waits until the partner has received everything.
            wait: Do; not after `drain`.

        Raises:
            PartnerDied, PartnerHung: it never will ("done" only).
        """

    def drain(self) -> None:  # noqa: B027 - a carrier that keeps nothing has nothing to wait for
        """Wait until the partner has received everything, as `close` does, and stay.

        Raises:
            PartnerDied, PartnerHung: it never will.
        """

    def progress(self) -> None:  # noqa: B027 - a carrier without a heartbeat has nothing to do
        """Say that this half is moving although it exchanges nothing (a long test phase)."""

    def report(self, state: str) -> None:  # noqa: B027 - as above
        """Show the partner, and who looks at the run, what holds this half up.

        Args:
            state: "blocked:ENOSPC" and the like; "running" when it goes on.
        """

    def reserve(self, iteration_bytes: int, iterations: int) -> None:  # noqa: B027
        """Check early that there is room for what is kept between two checkpoints.

        Args:
            iteration_bytes: bytes that this half sends in one iteration.
            iterations: iterations between two checkpoints.

        Raises:
            StorageFailed: there is not.
        """

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close("done")
        else:
            self.close(f"failed: {type(error).__name__}: {error}")
