"""The status file of a running piece, for `dualnet status`.

It is written once a second on a best-effort basis: nothing depends on it, and a failure to write it
is no error.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import Optional, Protocol

from dualnet.exchange import Counters
from dualnet.rundir import PieceDir
from dualnet.strict_json import to_text

__all__ = ["StatusFile"]

_EVERY_S = 1.0


class Waiting(Protocol):
    """The end of a link at which a message is waited for."""

    #: The piece that is to send it.
    neighbour: str
    #: The message, as "down 12"; "" when it has come.
    awaited: str


class Exchanges(Protocol):
    """What the file says of a piece's links."""

    @property
    def waiting(self) -> Optional[Waiting]:
        """Where a message is waited for at present; None while the piece works."""

    @property
    def by_link(self) -> dict[str, Counters]:
        """What the exchange has taken so far over each link, by its name."""


class StatusFile:
    """Writes one piece's status file.

    Args:
        piece: The piece.
        max_iter: Iterations in all.
        links: Its links.
    """

    def __init__(self, piece: PieceDir, max_iter: int, links: Exchanges) -> None:
        self._path, self._temporary = piece.status, f"{piece.temporary}_status"
        self._max_iter = max_iter
        self._links = links
        self._shown_s = self._counted_s = self._since_s = time.monotonic()
        #: The iteration that this start of the piece began with; None before its loop begins.
        self._first: Optional[int] = None
        self._counted = 0
        self._rate: Optional[float] = None
        self._awaited = ("", "")

    @property
    def wait(self) -> tuple[str, float]:
        """The piece whose message was awaited at the last `show`, and for how many seconds so far.

        ("", 0.0) where none was.
        """
        return self._awaited[0], time.monotonic() - self._since_s if self._awaited[0] else 0.0

    def begin(self, iteration: int) -> None:
        """Count from here: the loop begins, and what was done before is of an earlier start.

        Args:
            iteration: Updates completed.
        """
        self._first = self._counted = iteration
        self._counted_s = time.monotonic()

    def show(self, iteration: int, loss: float, now: bool = False) -> None:
        """Note the progress, and write the file if a second has passed since the last time.

        Args:
            iteration: Updates completed.
            loss: The latest in the log.
            now: Write at once.
        """
        now_s = time.monotonic()
        end = self._links.waiting
        awaited = (end.neighbour, end.awaited) if end is not None else ("", "")
        if awaited != self._awaited:
            self._awaited, self._since_s = awaited, now_s
        self._count(iteration, now_s)
        if now_s - self._shown_s < _EVERY_S and not now:
            return
        self._shown_s = now_s
        facts = {
            "pid": os.getpid(),
            "iteration": iteration,
            "max_iter": self._max_iter,
            "iterations_per_s": self._rate,
            "done": 0 if self._first is None else iteration - self._first,
            "loss": to_text(loss) if loss == loss else None,
            "waits_for": awaited[0],
            "awaited": awaited[1],
            "waits_s": self.wait[1],
            "links": {name: asdict(counters) for name, counters in self._links.by_link.items()},
        }
        try:
            with open(self._temporary, "w", encoding="utf-8") as file:
                json.dump(facts, file, allow_nan=False)
            os.replace(self._temporary, self._path)
        except OSError:
            pass  # a disk error that matters is reported where a checkpoint or a message is written

    def _count(self, iteration: int, now_s: float) -> None:
        """Update the iterations per second, of this start's iterations in at least five seconds.

        Only when one is completed: in the middle of one that takes long, the speed would be zero.
        """
        if self._first is None or iteration <= self._counted:
            return
        if now_s - self._counted_s > 5 * _EVERY_S:
            self._rate = (iteration - self._counted) / (now_s - self._counted_s)
            self._counted, self._counted_s = iteration, now_s
