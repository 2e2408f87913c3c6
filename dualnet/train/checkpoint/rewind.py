"""Where a half goes on: from its latest whole checkpoint, or from an earlier one of both halves.

A half that goes on from a checkpoint reads again what the other one had sent by the checkpoint that
that one goes on from. Such messages are kept as long as checkpoints are needed, and deleted when
both halves are complete. Where one is gone, and a checkpoint was damaged or lost, a half cannot
repeat its part alone: both go back to the latest iteration whose checkpoints are whole in both.

Halves without a directory in common (carrier tcp) know nothing of each other's checkpoints: each
goes on from its own latest.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Callable, Optional

from dualnet.errors import UsageError
from dualnet.exchange.channel import PARTNER, ROLES
from dualnet.exchange.paths import DataName
from dualnet.exchange.peek import peek
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import PieceDir
from dualnet.train.checkpoint import commit
from dualnet.train.checkpoint.commit import Commit

__all__ = ["go_back", "is_over"]

#: A half whose heartbeat is older, on a machine that cannot be asked, is taken for dead.
_SILENT_S = 60.0
#: Each piece to its latest whole checkpoint.
Latest = dict[PieceDir, Optional[Commit]]


def is_over(piece: PieceDir, max_iter: Optional[int] = None, fs: Fs = SYSTEM) -> bool:
    """Whether nothing is left to do for a half.

    Args:
        piece: Whose part.
        max_iter: See `commit.complete`.
        fs: All I/O.

    Returns:
        Whether it is complete and its last checkpoint whole, and the other half can do without it.
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
    """The checkpoint that a half goes on from, or None if it starts from nothing.

    Where both halves have to go back, the records of what lies beyond are removed, the other half's
    too: its files without a record are no checkpoint, and will be written again. A half that is at
    work is not taken back.

    Args:
        piece: Whose; its process must hold the piece's name.
        check: Raises UsageError where a piece may not go on from an iteration; asked before
            anything is changed.
        warn: Told of each checkpoint of its that is passed over, and why.
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
        return latest[piece]  # it ends when it finds the message gone; the other one trains on
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
    return piece.run.piece(PARTNER[piece.name])


def _iteration(found: Optional[Commit]) -> int:
    return found.iteration if found is not None else 0


def _is_apart(latest: Latest, fs: Fs) -> bool:
    """Whether a half needs a message that nobody has or sends any more."""
    run = next(iter(latest)).run
    try:
        names = fs.listdir(run.exchange)
    except FileNotFoundError:
        names = []
    except OSError:
        return False  # who opens the exchange will say it
    kept: dict[str, set[int]] = {role: set() for role in ROLES}
    for entry in filter(None, map(DataName.parse, names)):
        kept[entry.role].add(entry.seq)
    for reader, own in latest.items():
        writer = _other(reader)
        theirs = latest[writer]
        following = (own.received if own is not None else 0) + 1
        sent = theirs.sent if theirs is not None else 0
        if not kept[writer.name].issuperset(range(following, sent + 1)):
            return True
    return False


def _is_shared(partner: PieceDir, fs: Fs) -> bool:
    """Whether the other half writes here, too; over tcp each may have a directory of its own."""
    names = fs.listdir(partner.run.path)
    try:
        names += fs.listdir(partner.run.exchange)
    except FileNotFoundError:
        pass
    return any(map(partner.has_written, names))


def _is_at_work(piece: PieceDir) -> bool:
    """Whether a half trains, as far as can be seen here; one that has just started does not."""
    view = peek(piece.run.path).halves[piece.name]
    if view.state.startswith(("done", "stopped", "failed")) or view.alive is False:
        return False
    is_heard = view.heartbeat_age_s is not None and view.heartbeat_age_s < _SILENT_S
    return view.sent > 0 and (bool(view.alive) or is_heard)


def _common(pieces: Collection[PieceDir], fs: Fs) -> Optional[int]:
    """The latest iteration whose checkpoints are whole in both halves."""
    recorded = [set(commit.recorded(piece, fs)) for piece in pieces]
    for iteration in sorted(set.intersection(*recorded), reverse=True):
        found = [commit.whole(piece, iteration, fs) for piece in pieces]
        if all(isinstance(one, Commit) for one in found):
            return iteration
    return None


def _reason(piece: PieceDir, latest: Optional[Commit], fs: Fs) -> str:
    """What became of a piece's checkpoints."""
    recorded = commit.recorded(piece, fs)
    what = f"{piece.name}'s latest whole checkpoint is {latest.iteration if latest else 'none'}"
    newest = max(recorded, default=-1)
    found = commit.whole(piece, newest, fs) if recorded else ""
    if isinstance(found, str) and found:
        what += f" ({os.path.basename(piece.at(newest).record)}: {found})"
    return what
