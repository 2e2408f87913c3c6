"""The status of a run, read from its exchange directory, status files, logs and checkpoints.

Read-only and non-blocking. It must work on damaged runs: what cannot be read is left out, problems
are listed.
"""

from __future__ import annotations

import os
from typing import Optional

from dualnet.config import Config, load_run
from dualnet.config.chain import SINGLE, number_of
from dualnet.coupling.meaning import meaning_of
from dualnet.errors import ConfigError, UsageError
from dualnet.exchange.peek import LinkView, PieceView, peek
from dualnet.exchange.run.host import ProcessId
from dualnet.report.accuracy import last_test
from dualnet.report.completion import is_complete, lost_since
from dualnet.report.lives import as_seen_now, read_lives
from dualnet.report.piece_facts import LinkFacts, age_s, piece_facts, tail
from dualnet.report.run_status import LinkStatus, PieceStatus, RunStatus
from dualnet.rundir import PieceDir, RunDir

__all__ = ["LinkStatus", "PieceStatus", "RunStatus", "require_run", "status"]

#: Seconds after which a heartbeat counts as missing.
_SILENT_S = 60.0


def require_run(run: RunDir) -> None:
    """Refuse a directory that no run was started in.

    Raises:
        UsageError: It holds nothing of a run.
    """
    traces = (run.config, run.exchange, run.piece(SINGLE).solver, run.piece("net1").solver)
    if not run.logged() and not any(map(os.path.lexists, traces)):
        missing = "" if os.path.isdir(run) else ", and no such directory"
        raise UsageError(
            f"{run}: no run here{missing}; name the directory that was given as --run-dir"
        )


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
    config = _config(run)
    single = run.piece(SINGLE)
    if os.path.lexists(single.log) or os.path.lexists(single.solver):
        found.pieces[SINGLE] = _single(single, names, found.problems)
    if SINGLE not in found.pieces or os.path.lexists(run.exchange):
        view = peek(run.path)
        found.problems += view.problems
        for name in dict.fromkeys((*_chain(config), *view.pieces)):
            found.pieces[name] = _in_chain(run.piece(name), names, view.piece(name), found.problems)
    for name, piece in found.pieces.items():
        _settle(piece, run.piece(name), found.problems if verify else None)
        piece.meaning = _meaning(config, name)
    _sum_up(found, run)
    return found


def _config(run: RunDir) -> Optional[Config]:
    """The run's config; None where it cannot be read."""
    try:
        return load_run(run)
    except ConfigError:
        return None


def _chain(config: Optional[Config]) -> tuple[str, ...]:
    """The pieces that the config names; the thesis's two where there is none."""
    if config is None:
        return ("net1", "net2")
    return config.names if len(config.names) > 1 else ()


def _meaning(config: Optional[Config], name: str) -> str:
    """What a piece's loss is, in a few words; "" where nobody knows."""
    if config is None or name not in (SINGLE, *config.names):
        return ""
    found = meaning_of(config, name)
    return "the loss that counts, on the labels" if found.counts else f"{found.name}, {found.trend}"


def _sum_up(found: RunStatus, run: RunDir) -> None:
    """What the pieces come to: how good the net is, and how long it will take."""
    found.counting = max(found.pieces, key=_height, default="")
    test = last_test(run.piece(found.counting).log)
    if test is not None:
        found.accuracy, found.tested_at = test
    left = [
        max(0, piece.max_iter - piece.iteration) / piece.iterations_per_s
        for piece in found.pieces.values()
        if piece.max_iter is not None and piece.iteration is not None and piece.iterations_per_s
    ]
    found.seconds_left = max(left, default=None)


def _height(name: str) -> tuple[bool, int]:
    """How far up a piece is; the uncut net beside a chain counts least."""
    return name != SINGLE, number_of(name)


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
    _add_life(found, piece)
    return found


def _add_life(found: PieceStatus, piece: PieceDir) -> None:
    """What the record of its starts knows of the single net, which has no heartbeat."""
    try:
        lives = read_lives(piece)
    except (OSError, ValueError):
        return
    if not lives:
        return
    life, process = as_seen_now(lives[-1], piece), ProcessId.from_fields(lives[-1].process)
    found.process, found.restarts = str(process or ""), len(lives) - 1
    if found.state in ("running", "silent"):
        ends = {"killed": "dead", "failed": f"failed: {life.error}", "stopped": "stopped"}
        found.state = ends.get(life.state, found.state)


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
