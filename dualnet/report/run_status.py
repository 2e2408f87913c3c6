"""What can be said of a run while it is at work: of all of it, each piece, and each link."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

__all__ = ["LinkStatus", "PieceStatus", "RunStatus"]


@dataclass
class LinkStatus:
    """A piece's end of a link.

    Attributes:
        sent: messages sent.
        received: messages received.
        bytes_sent: since the piece's last start.
        bytes_received: since its last start.
        saved_sent: bytes that `exchange.dtype` has saved of bytes_sent.
        saved_received: and of bytes_received.
        bytes_per_iteration: sent and received, tests included; None before the first.
        kept_bytes: of its messages that are on the disk.
        retries: operations on the disk that were tried again, since its last start.
        resends: messages that arrived damaged and were resent, since its last start.
    """

    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    saved_sent: int = 0
    saved_received: int = 0
    bytes_per_iteration: Optional[float] = None
    kept_bytes: int = 0
    retries: int = 0
    resends: int = 0


@dataclass
class PieceStatus:
    """The status of one piece.

    Attributes:
        piece: its name, "single" for the uncut net.
        state: "not started", "starting", "running", "waiting", "blocked:<errno>", "stopped",
            "failed: <why>", "dead" (the process no longer exists and left no final state), "silent"
            (no heartbeat for 60 s, and the process runs on another machine), "done", "complete"
            (nothing is left to do) or "damaged" (complete, but its last checkpoint is damaged).
        iteration: updates completed; None if unknown.
        max_iter: in all.
        iterations_per_s: of the last seconds.
        loss: the latest in the log; may be infinite or NaN.
        waits_for: the piece whose message it waits for, "" if it does not wait.
        awaited: that message, as "down 12".
        waits_s: seconds that it has waited for that.
        heartbeat_age_s: seconds since its last heartbeat, by the wall clocks.
        process: where it runs.
        restarts: how often it was started again.
        checkpoint: iteration of its last checkpoint; -1: none.
        links: its ends, by the name of the link: first that to the piece below.
        meaning: what its loss is, as "size of the gradient from net2, not meant to fall"; "" if the
            run's config cannot be read.
    """

    piece: str
    state: str = "not started"
    iteration: Optional[int] = None
    max_iter: Optional[int] = None
    iterations_per_s: Optional[float] = None
    loss: Optional[float] = None
    waits_for: str = ""
    awaited: str = ""
    waits_s: float = 0.0
    heartbeat_age_s: Optional[float] = None
    process: str = ""
    restarts: int = 0
    checkpoint: int = -1
    links: dict[str, LinkStatus] = field(default_factory=dict)
    meaning: str = ""


@dataclass
class RunStatus:
    """A run directory.

    Attributes:
        run_dir: its path.
        counting: the piece whose loss counts, the last one.
        accuracy: of the last test; None before the first.
        tested_at: the iteration of that test.
        seconds_left: to max_iter at the present speed, of the piece that needs the longest; None
            where no piece runs or the speed is not known yet.
        pieces: by name, from the data to the loss.
        problems: what is missing or wrong, one line each.
    """

    run_dir: str
    counting: str = ""
    accuracy: Optional[float] = None
    tested_at: Optional[int] = None
    seconds_left: Optional[float] = None
    pieces: dict[str, PieceStatus] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As dictionaries, for `strict_json.to_json`."""
        return asdict(self)
