"""The status of a run, read from its exchange directory, status files, logs and checkpoints.

Read-only and non-blocking. It must work on damaged runs: what cannot be read is left out, problems
are listed.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Optional

from dualnet.config import load_run
from dualnet.engine.formats.regular_file import read_at_most, regular_only
from dualnet.errors import ConfigError
from dualnet.exchange.peek import PieceView, peek
from dualnet.recorded import damage
from dualnet.report.parse import SHOWN_LOSS
from dualnet.rundir import PieceDir, RunDir

__all__ = ["PieceStatus", "RunStatus", "describe", "status"]

#: Bytes of a log's end that are read.
_TAIL_BYTES = 1 << 16
#: Bytes of a status file or record; longer ones are refused.
_LIMIT = 64 << 20
#: Seconds after which a heartbeat counts as missing.
_SILENT_S = 60.0


@dataclass
class PieceStatus:
    """The status of one piece.

    Attributes:
        role: its name, "single" for the uncut net.
        state: "not started", "starting", "running", "waiting", "blocked:<errno>", "stopped",
            "failed: <why>", "dead" (the process no longer exists and left no final state), "silent"
            (no heartbeat for 60 s, and the process runs on another machine), "done", "complete"
            (nothing is left to do) or "damaged" (complete, but its last checkpoint is damaged).
        iteration: updates completed; None if unknown.
        max_iter: in all.
        iterations_per_s: of the last seconds.
        loss: the latest in the log; may be infinite or NaN.
        waits_for: the message that it waits for, "" if it does not wait.
        waits_s: seconds that it has waited for that.
        heartbeat_age_s: seconds since its last heartbeat, by the wall clocks.
        process: where it runs.
        restarts: how often it was started again.
        checkpoint: iteration of its last checkpoint; -1: none.
        sent: messages sent.
        received: messages received.
        bytes_sent: since its last start.
        bytes_received: since its last start.
        saved_sent: bytes that `exchange.dtype` has saved of bytes_sent.
        saved_received: and of bytes_received.
        bytes_per_iteration: sent and received, tests included; None before the first.
        retries: operations on the disk that were tried again, since its last start.
        resends: messages that arrived damaged and were resent, since its last start.
        kept_bytes: of its messages that are on the disk.
    """

    role: str
    state: str = "not started"
    iteration: Optional[int] = None
    max_iter: Optional[int] = None
    iterations_per_s: Optional[float] = None
    loss: Optional[float] = None
    waits_for: str = ""
    waits_s: float = 0.0
    heartbeat_age_s: Optional[float] = None
    process: str = ""
    restarts: int = 0
    checkpoint: int = -1
    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    saved_sent: int = 0
    saved_received: int = 0
    bytes_per_iteration: Optional[float] = None
    retries: int = 0
    resends: int = 0
    kept_bytes: int = 0


@dataclass
class RunStatus:
    """A run directory: its pieces by name, and what is missing or wrong, one line each."""

    run_dir: str
    pieces: dict[str, PieceStatus] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As dictionaries, for `strict_json.to_json`."""
        return asdict(self)


def status(run: RunDir) -> RunStatus:
    """Read the status of a run; never raises for what it finds there.

    Args:
        run: Its directory.
    """
    found = RunStatus(run.path)
    try:
        names = os.listdir(run)
    except OSError as error:
        found.problems.append(f"{run}: {error.strerror}")
        names = []
    single = run.piece("single")
    if os.path.lexists(single.log) or os.path.lexists(single.solver):
        found.pieces["single"] = _single(single, names, found.problems)
    if "single" not in found.pieces or os.path.lexists(run.exchange):
        view = peek(run.path)
        found.problems += view.problems
        for name in dict.fromkeys((*_chain(run), *view.pieces)):
            found.pieces[name] = _member(run.piece(name), names, view.piece(name), found.problems)
    return found


def _chain(run: RunDir) -> tuple[str, ...]:
    """The pieces that the run's config names; the thesis's two where it cannot be read."""
    try:
        names = load_run(run).names
    except ConfigError:
        return ("net1", "net2")
    return names if len(names) > 1 else ()


def _single(piece: PieceDir, names: list[str], problems: list[str]) -> PieceStatus:
    entry = PieceStatus("single", state="running")
    _add_facts(entry, piece, names, problems)
    entry.heartbeat_age_s = _age_s(piece.status)
    if entry.heartbeat_age_s is None or entry.heartbeat_age_s > _SILENT_S:
        entry.state = "silent"
    tail = _tail(piece.log)
    end = max(tail.rfind("Solving "), tail.rfind("Restoring previous solver status"))
    if tail.rfind("Optimization Done.") > end:
        entry.state = "done"
    elif tail.rfind("Optimization stopped early.") > end:
        entry.state = "stopped"
    return _settled(entry, piece, problems)


def _member(piece: PieceDir, names: list[str], view: PieceView, problems: list[str]) -> PieceStatus:
    entry = PieceStatus(view.piece)
    _add_facts(entry, piece, names, problems)
    entry.process, entry.restarts = view.process, max(0, view.epoch - 1)
    entry.heartbeat_age_s, entry.kept_bytes = view.heartbeat_age_s, view.kept_bytes
    entry.sent, entry.received = view.sent, view.received
    entry.checkpoint = max(entry.checkpoint, view.checkpoint)
    if view.epoch:
        entry.state = view.state or "starting"
        if not entry.state.startswith(("done", "stopped", "failed")):
            if view.alive is False:
                entry.state = "dead"
            elif view.alive is None and (entry.heartbeat_age_s or 0.0) > _SILENT_S:
                entry.state = "silent"
            elif entry.state == "running" and entry.waits_for:
                entry.state = "waiting"
    return _settled(entry, piece, problems)


def _settled(entry: PieceStatus, piece: PieceDir, problems: list[str]) -> PieceStatus:
    """Set the final state, and clear the waiting time and speed of what no longer runs."""
    record = _last_record(entry, piece)
    if record.get("complete") is True:
        entry.state, entry.iteration = "complete", entry.checkpoint
        found = _damage(piece.run, record)
        if found:
            entry.state = "damaged"
            problems.append(f"{found}; give the command that trained it again")
    if entry.state not in ("waiting", "running", "starting"):
        entry.waits_for, entry.waits_s, entry.iterations_per_s = "", 0.0, None
    return entry


def _last_record(entry: PieceStatus, piece: PieceDir) -> dict[str, Any]:
    """The record of the last checkpoint; {} if there is none to be read."""
    return _json(piece.at(entry.checkpoint).record, []) if entry.checkpoint >= 0 else {}


def _damage(run: RunDir, record: dict[str, Any]) -> str:
    """What is wrong with a checkpoint's files, "" if nothing is."""
    stated = record.get("files")
    pairs = stated.items() if isinstance(stated, dict) else ()
    files = {os.path.basename(str(name)): str(value) for name, value in pairs}
    state = tuple((name, value, _stamp(os.path.join(run, name))) for name, value in files.items())
    return _hash(run, state)


@lru_cache(maxsize=8)
def _hash(run: RunDir, state: tuple[tuple[str, str, tuple[int, ...]], ...]) -> str:
    """What is wrong with files; cached for each state of them, as `--watch` asks often."""
    return damage(run.path, {name: value for name, value, _ in state})


def _stamp(path: str) -> tuple[int, ...]:
    """Changes when the file does."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _add_facts(entry: PieceStatus, piece: PieceDir, names: list[str], problems: list[str]) -> None:
    """Add what its status file, log and checkpoints say."""
    entry.checkpoint = max(piece.recorded(names), default=-1)
    facts = _json(piece.status, problems) if os.path.lexists(piece.status) else {}
    entry.max_iter = _count(facts.get("max_iter"))
    entry.iterations_per_s = _number(facts.get("iterations_per_s"))
    entry.waits_for = str(facts.get("waits_for") or "")
    if entry.waits_for:
        entry.waits_s = (_number(facts.get("waits_s")) or 0.0) + (_age_s(piece.status) or 0.0)
    exchange = facts.get("exchange")
    counters = exchange if isinstance(exchange, dict) else {}
    entry.bytes_sent = _count(counters.get("bytes_sent")) or 0
    entry.bytes_received = _count(counters.get("bytes_received")) or 0
    entry.saved_sent = _count(counters.get("saved_sent")) or 0
    entry.saved_received = _count(counters.get("saved_received")) or 0
    done = _count(facts.get("done")) or 0
    if done > 0:
        entry.bytes_per_iteration = (entry.bytes_sent + entry.bytes_received) / done
    entry.retries = _count(counters.get("storage_retries")) or 0
    entry.resends = _count(counters.get("resends")) or 0
    # Both may be late: the file by a second, the log by its display interval. The later one counts.
    entry.iteration, entry.loss = _count(facts.get("iteration")), _loss(facts.get("loss"))
    shown = SHOWN_LOSS.findall(_tail(piece.log))
    if shown and (entry.iteration is None or int(shown[-1][0]) >= entry.iteration):
        entry.iteration, entry.loss = int(shown[-1][0]), _loss(shown[-1][1])
    elif shown and entry.loss is None:
        entry.loss = _loss(shown[-1][1])
    if entry.checkpoint > (entry.iteration or 0):
        entry.iteration = entry.checkpoint


def _json(path: str, problems: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(read_at_most(path, _LIMIT).decode())
    except OSError as error:
        problems.append(f"{os.path.basename(path)}: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        problems.append(f"{os.path.basename(path)}: damaged")
        return {}
    return found if isinstance(found, dict) else {}


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


def _age_s(path: str) -> Optional[float]:
    try:
        return max(0.0, time.time() - os.lstat(path).st_mtime)
    except OSError:
        return None


def _tail(path: str) -> str:
    """The end of a text, "" if it cannot be read."""
    try:
        with open(path, "rb", opener=regular_only) as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""


def describe(found: RunStatus) -> str:
    """A status as text for people, a block of lines for each entry."""
    lines = [found.run_dir]
    for entry in found.pieces.values():
        lines.append(f"  {entry.role:6}  {entry.state}{_waiting(entry)}")
        lines += [f"          {line}" for line in _details(entry) if line]
    lines += [f"  problem: {problem}" for problem in found.problems]
    return "\n".join(lines) + "\n"


def _waiting(entry: PieceStatus) -> str:
    return f" for {entry.waits_for}, {entry.waits_s:.0f} s" if entry.waits_for else ""


def _details(entry: PieceStatus) -> list[str]:
    progress = [] if entry.iteration is None else [f"iteration {entry.iteration}"]
    if progress and entry.max_iter is not None:
        progress[0] += f"/{entry.max_iter}"
    if entry.iterations_per_s is not None:
        progress.append(f"{entry.iterations_per_s:.3g} iterations/s")
    if entry.loss is not None:
        progress.append(f"loss {entry.loss:.4g}")
    if entry.checkpoint >= 0:
        progress.append(f"checkpoint at {entry.checkpoint}")
    life = [entry.process] if entry.process else []
    if entry.heartbeat_age_s is not None:
        life.append(f"last heartbeat {entry.heartbeat_age_s:.0f} s ago")
    if entry.restarts:
        life.append(f"{entry.restarts} restarts")
    traffic = []
    if entry.sent or entry.received:
        traffic.append(f"{entry.sent} messages sent ({entry.bytes_sent / 1e6:.3g} MB)")
        traffic.append(f"{entry.received} received ({entry.bytes_received / 1e6:.3g} MB)")
        if entry.bytes_per_iteration is not None:
            saved = entry.saved_sent + entry.saved_received
            less = f", {saved / 1e6:.3g} MB saved" if saved else ""
            traffic.append(f"{entry.bytes_per_iteration / 1e6:.3g} MB an iteration{less}")
        traffic.append(f"{entry.kept_bytes / 1e6:.3g} MB kept")
        traffic.append(f"{entry.retries} retries, {entry.resends} resends")
    return [", ".join(progress), ", ".join(life), ", ".join(traffic)]
