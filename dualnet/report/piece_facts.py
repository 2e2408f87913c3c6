"""What a piece says of itself while it trains: its status file and the end of its log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from dualnet.engine.formats.regular_file import read_at_most, regular_only
from dualnet.report.parse import SHOWN_LOSS
from dualnet.rundir import PieceDir

__all__ = ["LinkFacts", "PieceFacts", "age_s", "piece_facts", "read_json", "tail"]

#: Bytes of a log's end that are read.
_TAIL_BYTES = 1 << 16
#: Bytes of a status file or record; longer ones are refused.
_LIMIT = 64 << 20
#: Seconds after which a status file, which is written every second, tells no present wait.
_STALE_S = 15.0


@dataclass(frozen=True)
class LinkFacts:
    """What went over a link since the piece's last start; see `dualnet.exchange.Counters`."""

    bytes_sent: int = 0
    bytes_received: int = 0
    saved_sent: int = 0
    saved_received: int = 0
    storage_retries: int = 0
    resends: int = 0


@dataclass(frozen=True)
class PieceFacts:
    """What could be read.

    Attributes:
        iteration: Updates completed; None if unknown.
        max_iter: In all.
        iterations_per_s: Of the last seconds.
        loss: The latest; may be infinite or NaN.
        done: Updates since its last start.
        waits_for: The piece whose message it waits for, "" if it does not wait.
        awaited: That message, as "down 12".
        waits_s: How long it has waited, up to now.
        links: What went over each, by name.
    """

    iteration: Optional[int] = None
    max_iter: Optional[int] = None
    iterations_per_s: Optional[float] = None
    loss: Optional[float] = None
    done: int = 0
    waits_for: str = ""
    awaited: str = ""
    waits_s: float = 0.0
    links: dict[str, LinkFacts] = field(default_factory=dict)


def piece_facts(piece: PieceDir, problems: list[str]) -> PieceFacts:
    """Read a piece's status file and the end of its log.

    Args:
        piece: Its files.
        problems: Takes a line for each file that cannot be read.
    """
    said = read_json(piece.status, problems) if os.path.lexists(piece.status) else {}
    iteration, loss = _count(said.get("iteration")), _loss(said.get("loss"))
    # Both may be late: the file by a second, the log by its display interval. The later one counts.
    shown = SHOWN_LOSS.findall(tail(piece.log))
    if shown and (iteration is None or int(shown[-1][0]) >= iteration):
        iteration, loss = int(shown[-1][0]), _loss(shown[-1][1])
    elif shown and loss is None:
        loss = _loss(shown[-1][1])
    waits_for, waits_s = str(said.get("waits_for") or ""), 0.0
    silent_s = age_s(piece.status) or 0.0
    if silent_s > _STALE_S:
        waits_for = ""  # whoever waits keeps its file up to date: this one is stopped, or hangs
    if waits_for:
        waits_s = (_number(said.get("waits_s")) or 0.0) + silent_s
    links = said.get("links")
    return PieceFacts(
        iteration,
        _count(said.get("max_iter")),
        _number(said.get("iterations_per_s")),
        loss,
        _count(said.get("done")) or 0,
        waits_for,
        str(said.get("awaited") or "") if waits_for else "",
        waits_s,
        {
            str(name): _link_facts(counters)
            for name, counters in (links.items() if isinstance(links, dict) else ())
            if isinstance(counters, dict)
        },
    )


def _link_facts(counters: Mapping[str, Any]) -> LinkFacts:
    names = LinkFacts.__dataclass_fields__
    return LinkFacts(**{name: _count(counters.get(name)) or 0 for name in names})


def read_json(path: str, problems: list[str]) -> dict[str, Any]:
    """The keys and values of a file, {} if it cannot be read; `problems` takes why."""
    try:
        found = json.loads(read_at_most(path, _LIMIT).decode())
    except OSError as error:
        problems.append(f"{os.path.basename(path)}: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        problems.append(f"{os.path.basename(path)}: damaged")
        return {}
    return found if isinstance(found, dict) else {}


def age_s(path: str) -> Optional[float]:
    """Seconds since a file was written; None if there is none."""
    try:
        return max(0.0, time.time() - os.lstat(path).st_mtime)
    except OSError:
        return None


def tail(path: str) -> str:
    """The end of a text, "" if it cannot be read."""
    try:
        with open(path, "rb", opener=regular_only) as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _number(value: Any) -> Optional[float]:
    number = _loss(value)
    return number if number is not None and math.isfinite(number) else None


def _loss(value: Any) -> Optional[float]:
    """A number, infinite or NaN included; None for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _count(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
