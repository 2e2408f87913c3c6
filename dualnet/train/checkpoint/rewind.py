"""From which checkpoint a piece resumes: its latest whole one, or an earlier one of both pieces.

A piece that resumes reads again the messages that its neighbour had sent between the checkpoints of
the two. Messages are retained for that as long as checkpoints need them, and deleted when both
pieces are complete. Where one is gone, and a checkpoint was damaged or lost, a piece cannot repeat
its part alone: both resume from the latest iteration whose checkpoints are whole in both.

Pieces without a directory in common (carrier tcp) do not see each other's checkpoints: each resumes
from its own latest.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Callable, Optional

from dualnet.errors import UsageError
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName, RunPaths
from dualnet.exchange.peek import peek
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import PieceDir
from dualnet.train.checkpoint import commit
from dualnet.train.checkpoint.commit import Commit

__all__ = ["go_back", "is_over"]

#: Seconds after which a heartbeat from another machine counts as that of a dead process.
_SILENT_S = 60.0
_LINK = Link("net1", "net2")
ROLES = (_LINK.lower, _LINK.upper)
#: Each piece to its latest whole checkpoint.
Latest = dict[PieceDir, Optional[Commit]]


def is_over(piece: PieceDir, max_iter: Optional[int] = None, fs: Fs = SYSTEM) -> bool:
    """Whether nothing is left to do for a piece.

    Args:
        piece: The piece.
        max_iter: See `commit.complete`.
        fs: All I/O.

    Returns:
        Whether it is complete, its last checkpoint is whole, and its neighbour needs nothing of it.
    """
    own = commit.latest(piece, fs=fs)
    if own is None or not commit.is_end(own, max_iter):
        return False
    other = _other(piece)
    latest: Latest = {piece: own, other: commit.latest(other, fs=fs)}
    return not _is_apart(latest, fs) or _common(latest, fs) is None


def go_back(
    piece: PieceDir,
    check: Callable[[PieceDir, int], None] = lambda piece, iteration: None,
    warn: Callable[[str], None] = lambda text: None,
    fs: Fs = SYSTEM,
) -> Optional[Commit]:
    """The checkpoint that a piece resumes from, or None if it starts from nothing.

    Where both pieces have to go back, the records of later checkpoints are deleted, the neighbour's
    too: files without a record are no checkpoint, and are written again. A piece that is training
    is not taken back.

    Args:
        piece: The piece; this process must hold its lease.
        check: Raises UsageError where a piece may not go on from an iteration; asked before
            anything is changed.
        warn: Called with a line for each of its checkpoints that is skipped, and why.
        fs: All I/O.

    Raises:
        UsageError: Both have to, and there is no such iteration; or as `check` does.
    """
    run, partner = piece.run, _other(piece)
    latest: Latest = {
        one: commit.latest(one, warn if one == piece else lambda text: None, fs)
        for one in map(run.piece, ROLES)
    }
    if not _is_apart(latest, fs) or not _is_shared(partner, fs):
        check(piece, _iteration(latest[piece]))
        return latest[piece]
    common, other = _common(latest, fs), latest[partner]
    is_ahead = common is None or (other is not None and other.iteration > common)
    if is_ahead and _is_at_work(partner):
        return latest[piece]  # this piece ends when it finds the message gone; the other goes on
    reasons = "; ".join(_reason(one, found, fs) for one, found in latest.items())
    if common is None:
        raise UsageError(
            f"{run}: no iteration is left that both halves have a whole checkpoint of, and the "
            f"messages between are deleted ({reasons}); put back the files from a copy, or train "
            "in another run directory"
        )
    for one in latest:
        check(one, common)
    warn(
        f"both halves go back to iteration {common}: {reasons}, and the messages between are "
        "deleted"
    )
    for one in latest:
        for iteration in commit.recorded(one, fs):
            if iteration > common:
                commit.revoke(one, iteration, fs)
    own = commit.whole(piece, common, fs)
    return own if isinstance(own, Commit) else None


def _other(piece: PieceDir) -> PieceDir:
    return piece.run.piece(_LINK.other(piece.name))


def _iteration(found: Optional[Commit]) -> int:
    return found.iteration if found is not None else 0


def _is_apart(latest: Latest, fs: Fs) -> bool:
    """Whether a piece needs a message that nobody has or will send."""
    run = next(iter(latest)).run
    try:
        names = fs.listdir(RunPaths(run.exchange).link(_LINK).root)
    except FileNotFoundError:
        names = []
    except OSError:
        return False  # opening the exchange will report it
    kept: dict[str, set[int]] = {role: set() for role in ROLES}
    for entry in filter(None, map(DataName.parse, names)):
        kept[entry.piece].add(entry.seq)
    for reader, own in latest.items():
        writer = _other(reader)
        theirs = latest[writer]
        following = (own.received if own is not None else 0) + 1
        sent = theirs.sent if theirs is not None else 0
        if not kept[writer.name].issuperset(range(following, sent + 1)):
            return True
    return False


def _is_shared(partner: PieceDir, fs: Fs) -> bool:
    """Whether the neighbour writes here, too; over tcp each may have a directory of its own."""
    names = fs.listdir(partner.run.path)
    try:
        names += fs.listdir(partner.run.exchange)
    except FileNotFoundError:
        pass
    return any(map(partner.has_written, names))


def _is_at_work(piece: PieceDir) -> bool:
    """Whether a piece is training, as far as its heartbeat shows; not one that has just started."""
    view = peek(piece.run.path).piece(piece.name)
    if view.state.startswith(("done", "stopped", "failed")) or view.alive is False:
        return False
    is_heard = view.heartbeat_age_s is not None and view.heartbeat_age_s < _SILENT_S
    return view.sent > 0 and (bool(view.alive) or is_heard)


def _common(pieces: Collection[PieceDir], fs: Fs) -> Optional[int]:
    """The latest iteration whose checkpoints are whole in all pieces."""
    recorded = [set(commit.recorded(piece, fs)) for piece in pieces]
    for iteration in sorted(set.intersection(*recorded), reverse=True):
        found = [commit.whole(piece, iteration, fs) for piece in pieces]
        if all(isinstance(one, Commit) for one in found):
            return iteration
    return None


def _reason(piece: PieceDir, latest: Optional[Commit], fs: Fs) -> str:
    """Why a piece has no later checkpoint, for the message."""
    recorded = commit.recorded(piece, fs)
    what = f"{piece.name}'s latest whole checkpoint is {latest.iteration if latest else 'none'}"
    newest = max(recorded, default=-1)
    found = commit.whole(piece, newest, fs) if recorded else ""
    if isinstance(found, str) and found:
        what += f" ({os.path.basename(piece.at(newest).record)}: {found})"
    return what
