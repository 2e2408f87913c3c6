"""A piece's lives: what each of its starts was made with, when it ended and how.

`net1.run.json` is beside the run's own `run.json`, which says whose the directory is:

    {"version": 1, "piece": "net1",
     "lives": [{"number": 1, "began": "2026-11-28T02:17:32+00:00", …}, …]}

Each piece has a file of its own, so that pieces on several nodes never write the same one. It is
written when the piece's nets are built and when the piece ends. A process that is killed leaves a
life without an end; the next start of the piece, or whoever looks, finds that the process is gone.

Nothing depends on this file but what people are shown.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any, Optional

from dualnet.atomic import write_atomically
from dualnet.engine.formats.regular_file import read_at_most
from dualnet.exchange.run.host import ProcessId
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import PieceDir

__all__ = ["Life", "as_seen_now", "read_lives", "time_text", "without_end", "write_lives"]

_VERSION = 1
#: A life takes two kilobytes.
_LIMIT_BYTES = 64 << 20
#: Seconds without a sign after which a process on another machine counts as silent.
_SILENT_S = 60.0


@dataclass(frozen=True)
class Life:
    """A piece from one of its starts to its end.

    Attributes:
        number: 1 for its first.
        began: when, in UTC.
        state: "running", "done", "stopped" (by a signal), "failed", "killed" (it left no end, and
            its process is gone) or "silent" (no end, and nobody can tell from here).
        ended: when, in UTC; "" where it has not, or left no end.
        wall_s: seconds from start to end; of a life without an end, to its last sign; None if there
            was none.
        exit_code: of its process.
        error: the line that it ended with.
        first_iteration: updates done when it began.
        last_iteration: updates done when it ended.
        process: see `ProcessId`.
        facts: what it was made with (training/history/provenance.py).
    """

    number: int
    began: str
    state: str = "running"
    ended: str = ""
    wall_s: Optional[float] = None
    exit_code: Optional[int] = None
    error: str = ""
    first_iteration: int = 0
    last_iteration: Optional[int] = None
    process: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary, for `strict_json.to_json`."""
        return asdict(self)


def read_lives(piece: PieceDir) -> list[Life]:
    """The lives of a piece, its first one first; [] where nothing is recorded.

    Raises:
        ValueError: The file is damaged, or of another version of dualnet.
        OSError: As the system says.
    """
    try:
        found = json.loads(read_at_most(piece.lives, _LIMIT_BYTES).decode())
        if found["version"] != _VERSION:
            raise ValueError(f"format {found['version']}, this version of dualnet knows {_VERSION}")
        return [_life(each) for each in found["lives"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ELOOP):
            raise
        raise ValueError(str(error.strerror)) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not what was written") from error


def write_lives(piece: PieceDir, lives: Sequence[Life], fs: Fs = SYSTEM) -> None:
    """Write all lives of a piece in one step.

    Raises:
        OSError: As the system says; the file is as it was then.
    """
    whole = {"version": _VERSION, "piece": piece.name, "lives": [life.to_dict() for life in lives]}
    content = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    write_atomically(piece.lives, content.encode(), fs, piece.temporary)


def as_seen_now(life: Life, piece: PieceDir) -> Life:
    """A life that has no end as it looks from here: "running", "killed" or "silent"."""
    if life.state != "running":
        return life
    process = ProcessId.from_fields(life.process)
    is_alive = process.alive(ProcessId.current()) if process is not None else None
    last_s = _last_sign_s(life, piece)
    if is_alive is None:
        is_heard = last_s is not None and time.time() - last_s < _SILENT_S
        state = "running" if is_heard else "silent"
        return replace(without_end(life, piece), state=state)
    if not is_alive:
        return without_end(life, piece)
    return replace(life, wall_s=max(0.0, time.time() - _seconds(life.began)))


def without_end(life: Life, piece: PieceDir) -> Life:
    """A life whose process is gone and has left no end; its time is that to its last sign."""
    last_s = _last_sign_s(life, piece)
    wall_s = None if last_s is None else max(0.0, last_s - _seconds(life.began))
    return replace(life, state="killed", wall_s=wall_s)


def time_text(seconds: float) -> str:
    """A time of the wall clock, for the record: UTC, to the second."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _last_sign_s(life: Life, piece: PieceDir) -> Optional[float]:
    """When a life last wrote its status file; None if it never did."""
    try:
        written_s = os.lstat(piece.status).st_mtime
    except OSError:
        return None
    # An earlier life may have written it. The record's times are whole seconds.
    return written_s if written_s >= _seconds(life.began) else None


def _life(found: Mapping[str, Any]) -> Life:
    """A life of the file. Raises TypeError or ValueError for what is none."""
    names = {one.name for one in fields(Life)}
    life = Life(**{name: value for name, value in found.items() if name in names})
    _seconds(life.began)
    is_right = (
        type(life.number) is int
        and type(life.first_iteration) is int
        and isinstance(life.state, str)
        and isinstance(life.process, dict)
        and isinstance(life.facts, dict)
        and (life.wall_s is None or isinstance(life.wall_s, (int, float)))
    )
    if not is_right:
        raise TypeError("a value is of another kind")
    return life
