"""What neighbouring pieces exchange, whatever carries it: three small interfaces.

A training loop needs `Messages`: it sends a message, and it receives the message that it expects
next. A restart needs `Restart`. That a process is there, and why it is held up, is `Presence`, once
a process however many links it has (`dualnet.exchange.run.membership`).

The end of a link, a `Channel`, is the first two. Three carriers implement it: `files`, `tcp` and
`torch` (see factory.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Callable, Protocol

import numpy as np

from dualnet.exchange.link import Link

__all__ = ["Channel", "Counters", "Message", "Messages", "Presence", "Restart"]


@dataclass(frozen=True)
class Message:
    """Arrays that one piece hands to its neighbour at one point of the algorithm.

    Args:
        kind: "up" (cut blobs and labels), "down" or "downNN" (targets), "x" or "xNN" (outputs of
            the piece below, prox and admm), "tie" (weights), "testNNNNN" (a test batch); where an
            iteration has several batches, "up-NNNNN" and so on. 1 to 32 characters of a-z, 0-9, "_"
            and "-".
        iteration: iteration that the message belongs to, >= 0.
        arrays: named arrays of any shape, for example {"pool2": (N, C, H, W) float32,
            "label": (N,) float32}. Booleans, integers, floats and complex numbers; no objects.
    """

    kind: str
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
    #: Time in `receive` and `handshake` until the neighbour had the message ready.
    wait_s: float = 0.0
    #: Time in writing, reading and verifying.
    exchange_s: float = 0.0
    #: Reads that found a damaged or missing file, and messages resent on request.
    damaged_reads: int = 0
    resends: int = 0
    #: Storage operations that failed and were tried again.
    storage_retries: int = 0
    #: Messages sent again after a restart that matched the recorded ones bit for bit.
    replays_verified: int = 0

    @classmethod
    def total(cls, several: Iterable[Counters]) -> Counters:
        """The sum over several channels."""
        listed = list(several)
        return cls(*(sum(getattr(one, f.name) for one in listed) for f in fields(cls)))


class Messages(Protocol):
    """What a training loop sees of a link.

    Messages are numbered 1, 2, 3, … in each direction and are received in the order in which they
    were sent. Several may be under way in one direction.

    One thread, the training thread, uses a channel; `awaited` and `Presence.on_wait` are set and
    called in that thread.
    """

    @abstractmethod
    def send(self, message: Message) -> None:
        """Hand `message` to the neighbour; the arrays may be reused as soon as this returns.

        It does not wait until the neighbour has received it. It blocks while the disk fails, for
        `storage_timeout_s` at most; with `retain` 0 while too much is under way, until the
        neighbour has read older messages; over tcp also while the neighbour has more than 256 MiB
        unread, and in a replay until it has compared this message with the one that it got before
        the restart. While it waits for the neighbour, it raises what `receive` does.

        Raises:
            UsageError: a bad name, an array of objects, a message over `max_message_bytes`.
            StorageFailed, Superseded, DeterminismViolated: see `dualnet.errors`.
        """

    @abstractmethod
    def receive(self, kind: str, iteration: int) -> Message:
        """Wait for the neighbour's next message, verify it and return it.

        The wait has no limit of its own while the neighbour makes progress. It ends when the
        neighbour has not started within `partner_timeout_s`; has ended, or its heartbeat is
        unchanged for `dead_after_s`, and nobody starts it again within `restart_grace_s`; or has
        made no progress for `hang_timeout_s`. A damaged message is resent on request, which may
        take `resend_timeout_s`; over files it is first read again for `damage_retry_s`. Between
        two polls the membership does its housekeeping and calls `Presence.on_wait`.

        The arrays are freshly allocated, C-contiguous and the caller's own.

        Args:
            kind, iteration: what the next message has to be.

        Raises:
            NeighbourNeverCame, NeighbourDied, NeighbourHung: the bounded waits.
            DamagedMessage: announced, but unreadable even when resent.
            ManifestMismatch: the neighbour's next message is another one: the pieces are out of
                step.
        """


class Restart(Protocol):
    """What a checkpoint has to know of a link, and how a start continues from one."""

    @property
    @abstractmethod
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts; belongs in the checkpoint."""

    @property
    @abstractmethod
    def seq_received(self) -> int:
        """Messages received, counted over all restarts; belongs in the checkpoint."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to hold besides the counts of messages, {} without a codec."""

    @abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned at the checkpoint; call it before `resume`."""

    @abstractmethod
    def resume(self, seq_sent: int, seq_received: int) -> None:
        """Continue from a checkpoint, made when this many messages were sent and received.

        Call it after `handshake` and before the first message. Messages that are sent again must
        equal the recorded ones bit for bit.

        Raises:
            DamagedMessage: a message that would be needed was deleted.
        """

    @abstractmethod
    def checkpoint_passed(self, iteration: int) -> None:
        """Report a durable checkpoint that covers all messages sent and received so far.

        Call it after the checkpoint is synced and before the next send or receive. Messages that
        neither piece's retained checkpoints need are deleted.
        """

    @abstractmethod
    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """Check early that there is room for what is kept between two checkpoints.

        Args:
            iteration_bytes: bytes that this piece sends over this link in one iteration.
            iterations: iterations between two checkpoints.

        Raises:
            StorageFailed: there is not.
        """


class Presence(Protocol):
    """That this process takes part in a run; `Membership` implements it.

    Attributes:
        piece: which piece it is.
        on_wait: called again and again while a call waits for a neighbour; what it raises ends the
            wait.
    """

    piece: str
    on_wait: Callable[[], None] | None

    @property
    @abstractmethod
    def waits_for(self) -> str:
        """The piece that the present call waits for, "" outside; shown in the heartbeat."""

    @abstractmethod
    def progress(self) -> None:
        """Count progress, so that no neighbour's `hang_timeout_s` expires during long work.

        Raises:
            Superseded: another process has taken over this piece.
        """

    @abstractmethod
    def report(self, state: str) -> None:
        """Publish in the heartbeat why this piece is blocked, for its neighbours and for status.

        Args:
            state: "blocked:ENOSPC" and the like; "running" when it continues.
        """

    @abstractmethod
    def drain(self) -> None:
        """Wait until every neighbour has received everything, as `close` does, and stay.

        Raises:
            NeighbourDied, NeighbourHung: one ended before that.
        """

    @abstractmethod
    def close(self, state: str = "done", wait: bool = True) -> None:
        """Leave the run with a final state: "done", "stopped" or "failed: <why>".

        Args:
            state: with "done", first wait until every neighbour has read every message.
            wait: do wait; not needed after `drain`.

        Raises:
            NeighbourDied, NeighbourHung: one ended before that.
        """


class Channel(Messages, Restart, ABC):
    """One end of a link; made by `dualnet.exchange.factory.open_link`, closed by its membership.

    Attributes:
        link: the link.
        piece: the piece at this end.
        neighbour: the piece at the other end.
        counters: what has been done so far.
        awaited: what the present call waits for, as "down 12"; "" outside.
    """

    link: Link
    piece: str
    neighbour: str
    counters: Counters
    awaited: str = ""

    def state(self) -> dict[str, np.ndarray]:
        """See `Restart.state`."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Restart.restore`."""

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Restart.reserve`."""

    @abstractmethod
    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """Publish what this piece has, wait for the neighbour's description and return it.

        Call it once, before the first message. `hello` is small (16 KiB) and JSON-able, for example
        {"checkpoints": [100, 200], "threads": 4}.

        Raises:
            NeighbourNeverCame: the neighbour did not start within `partner_timeout_s`.
        """

    def drain(self) -> None:
        """Wait until the neighbour has received everything.

        Raises:
            NeighbourDied, NeighbourHung: it ended before that.
        """

    def neighbour_left(self) -> str:
        """Why the neighbour does not run: its final state, or "it was killed".

        "" while it runs, has not started yet, or if that is unknown.
        """
        return ""
