"""The status of a run, read from its exchange directory, status files, logs and checkpoints.

Read-only and non-blocking. It must work on damaged runs: what cannot be read is left out, problems
are listed.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from dualnet.config import load_run
from dualnet.errors import ConfigError
from dualnet.exchange.peek import LinkView, PieceView, peek
from dualnet.report.completion import is_complete, lost_since
from dualnet.report.piece_facts import LinkFacts, age_s, piece_facts, tail
from dualnet.rundir import PieceDir, RunDir

__all__ = ["LinkStatus", "PieceStatus", "RunStatus", "status"]

#: Seconds after which a heartbeat counts as missing.
_SILENT_S = 60.0


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


@dataclass
class RunStatus:
    """A run directory.

    Attributes:
        run_dir: its path.
        pieces: by name, from the data to the loss.
        problems: what is missing or wrong, one line each.
    """

    run_dir: str
    pieces: dict[str, PieceStatus] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As dictionaries, for `strict_json.to_json`."""
        return asdict(self)


def status(run: RunDir, verify: bool = True) -> RunStatus:
    """Read the status of a run; never raises for what it finds there.

    Args:
        run: Its directory.
        verify: Read the last checkpoints of complete pieces, and check their digests.
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
            found.pieces[name] = _in_chain(run.piece(name), names, view.piece(name), found.problems)
    for name, piece in found.pieces.items():
        _settle(piece, run.piece(name), found.problems if verify else None)
    return found


def _chain(run: RunDir) -> tuple[str, ...]:
    """The pieces that the run's config names; the thesis's two where it cannot be read."""
    try:
        names = load_run(run).names
    except ConfigError:
        return ("net1", "net2")
    return names if len(names) > 1 else ()


def _single(piece: PieceDir, names: list[str], problems: list[str]) -> PieceStatus:
    found = _read(piece, names, {}, problems)
    found.state, found.heartbeat_age_s = "running", age_s(piece.status)
    if found.heartbeat_age_s is None or found.heartbeat_age_s > _SILENT_S:
        found.state = "silent"
    end = tail(piece.log)
    begun = max(end.rfind("Solving "), end.rfind("Restoring previous solver status"))
    if end.rfind("Optimization Done.") > begun:
        found.state = "done"
    elif end.rfind("Optimization stopped early.") > begun:
        found.state = "stopped"
    return found


def _in_chain(
    piece: PieceDir, names: list[str], view: PieceView, problems: list[str]
) -> PieceStatus:
    found = _read(piece, names, view.links, problems)
    found.process, found.restarts = view.process, max(0, view.epoch - 1)
    found.heartbeat_age_s = view.heartbeat_age_s
    found.checkpoint = max(found.checkpoint, view.checkpoint)
    if view.epoch:
        found.state = view.state or "starting"
        if not found.state.startswith(("done", "stopped", "failed")):
            if view.alive is False:
                found.state = "dead"
            elif view.alive is None and (found.heartbeat_age_s or 0.0) > _SILENT_S:
                found.state = "silent"
            elif found.state == "running" and found.waits_for:
                found.state = "waiting"
    return found


def _read(
    piece: PieceDir, names: list[str], views: dict[str, LinkView], problems: list[str]
) -> PieceStatus:
    """What its status file, log, checkpoints and links say."""
    facts = piece_facts(piece, problems)
    checkpoint = max(piece.recorded(names), default=-1)
    iteration = facts.iteration if checkpoint <= (facts.iteration or 0) else checkpoint
    links = {
        name: _link(view, facts.links.get(name, LinkFacts()), facts.done)
        for name, view in sorted(views.items(), key=lambda item: (len(item[0]), item[0]))
    }
    return PieceStatus(
        piece.name, "not started", iteration, facts.max_iter, facts.iterations_per_s, facts.loss,
        facts.waits_for, facts.awaited, facts.waits_s, checkpoint=checkpoint, links=links,
    )  # fmt: skip


def _link(view: LinkView, facts: LinkFacts, done: int) -> LinkStatus:
    each = (facts.bytes_sent + facts.bytes_received) / done if done > 0 else None
    return LinkStatus(
        view.sent, view.received, facts.bytes_sent, facts.bytes_received, facts.saved_sent,
        facts.saved_received, each, view.kept_bytes, facts.storage_retries, facts.resends,
    )  # fmt: skip


def _settle(found: PieceStatus, piece: PieceDir, problems: Optional[list[str]]) -> None:
    """Set the final state, and clear the waiting time and speed of what no longer runs.

    Args:
        found: What is changed.
        piece: Its files.
        problems: Takes what is wrong with the last checkpoint; None: it is not checked.
    """
    if is_complete(piece, found.checkpoint):
        found.state, found.iteration = "complete", found.checkpoint
        lost = lost_since(piece, found.checkpoint) if problems is not None else ""
        if lost and problems is not None:
            found.state = "damaged"
            problems.append(f"{lost}; give the command that trained it again")
    if found.state not in ("waiting", "running", "starting"):
        found.waits_for, found.awaited, found.waits_s = "", "", 0.0
        found.iterations_per_s = None
