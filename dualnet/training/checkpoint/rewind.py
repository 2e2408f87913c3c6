"""Where a piece continues: from its latest whole checkpoint, or from an earlier one of all pieces.

A piece that continues from a checkpoint reads again what its neighbours had sent by the checkpoints
that they continue from. Such messages are kept as long as checkpoints are needed, and deleted when
all pieces are complete. Where one is gone, and a checkpoint was damaged or lost, a piece cannot
repeat its part alone: all go back to the latest iteration whose checkpoints are whole in each.

Pieces without a directory in common (carrier tcp) know nothing of each other's checkpoints: each
continues from its own latest.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Callable, Optional

from dualnet.errors import UsageError
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName, RunPaths
from dualnet.exchange.peek import peek
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import PieceDir
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.commit import Commit

__all__ = ["go_back", "is_over"]

#: A piece whose heartbeat is older, on a machine that cannot be asked, is taken for dead.
_SILENT_S = 60.0
#: Each piece, from the data to the loss, to its latest whole checkpoint.
Latest = dict[PieceDir, Optional[Commit]]


def is_over(
    piece: PieceDir, chain: Sequence[str], max_iter: Optional[int] = None, fs: Fs = SYSTEM
) -> bool:
    """Whether nothing is left to do for a piece.

    Args:
        piece: Whose part.
        chain: The names of all pieces, from the data to the loss.
        max_iter: See `commit.complete`.
        fs: All I/O.

    Returns:
        Whether it is complete and its last checkpoint whole, and the others can do without it.
    """
    own = commit.latest(piece, fs=fs)
    if own is None or not commit.is_end(own, max_iter):
        return False
    latest: Latest = {
        one: own if one == piece else commit.latest(one, fs=fs)
        for one in map(piece.run.piece, chain)
    }
    return not _is_apart(latest, fs) or _common(latest, fs) is None


def go_back(
    piece: PieceDir,
    chain: Sequence[str],
    check: Callable[[PieceDir, int], None] = lambda piece, iteration: None,
    warn: Callable[[str], None] = lambda text: None,
    fs: Fs = SYSTEM,
) -> Optional[Commit]:
    """The checkpoint that a piece continues from, or None if it starts from nothing.

    Where all pieces have to go back, the records of later checkpoints are removed, the other
    pieces' too: files without a record are no checkpoint, and will be written again. Where a piece
    that would have to go back is at work, nothing is done.

    Args:
        piece: Whose; its process must hold the piece's name.
        chain: The names of all pieces, from the data to the loss.
        check: Raises UsageError where a piece may not continue from an iteration; asked before
            anything is changed.
        warn: Takes a line on each checkpoint of its that is passed over, and why.
        fs: All I/O.

    Raises:
        UsageError: All have to, and there is no such iteration; or as `check` does.
    """
    run = piece.run
    latest = _latest(piece, chain, warn, fs)
    others = [one for one in latest if one != piece]
    if not _is_apart(latest, fs) or not _are_here(others, fs):
        check(piece, _iteration(latest[piece]))
        return latest[piece]
    common = _common(latest, fs)
    for other in others:
        found = latest[other]
        is_ahead = common is None or (found is not None and found.iteration > common)
        if is_ahead and _is_at_work(other):
            now = _latest(piece, chain, lambda text: None, fs)
            if any(_iteration(now[one]) != _iteration(latest[one]) for one in latest):
                # All have been taken back since this piece read the checkpoints.
                return go_back(piece, chain, check, warn, fs)
            # This piece ends when it finds the message gone; the other one trains on.
            return latest[piece]
    reasons = "; ".join(_reason(one, found, fs) for one, found in latest.items())
    if common is None:
        raise UsageError(
            f"{run}: no iteration is left that all pieces have a whole checkpoint of, and the "
            f"messages between are deleted ({reasons}); put back the files from a copy, or train "
            "in another run directory"
        )
    for one in latest:
        check(one, common)
    warn(
        f"all pieces go back to iteration {common}: {reasons}, and the messages between are deleted"
    )
    for one in latest:
        for iteration in commit.recorded(one, fs):
            if iteration > common:
                commit.revoke(one, iteration, fs)
    own = commit.whole(piece, common, fs)
    return own if isinstance(own, Commit) else None


def _latest(piece: PieceDir, chain: Sequence[str], warn: Callable[[str], None], fs: Fs) -> Latest:
    """The latest whole checkpoint of each piece; `warn` takes what is passed over of `piece`."""
    return {
        one: commit.latest(one, warn if one == piece else lambda text: None, fs)
        for one in map(piece.run.piece, chain)
    }


def _iteration(found: Optional[Commit]) -> int:
    return found.iteration if found is not None else 0


def _is_apart(latest: Latest, fs: Fs) -> bool:
    """Whether a piece needs a message that nobody has or sends any more."""
    pieces = list(latest)
    paths = RunPaths(pieces[0].run.exchange)
    for lower, upper in zip(pieces, pieces[1:]):
        link = Link(lower.name, upper.name)
        try:
            names = fs.listdir(paths.link(link).root)
        except FileNotFoundError:
            names = []
        except OSError:
            return False  # who opens the exchange will say it
        data = [entry for entry in map(DataName.parse, names) if entry is not None]
        for reader, writer in ((lower, upper), (upper, lower)):
            own, theirs = latest[reader], latest[writer]
            following = (own.counts(link.name)[1] if own is not None else 0) + 1
            sent = theirs.counts(link.name)[0] if theirs is not None else 0
            kept = {entry.seq for entry in data if entry.piece == writer.name}
            if not kept.issuperset(range(following, sent + 1)):
                return True
    return False


def _are_here(pieces: Collection[PieceDir], fs: Fs) -> bool:
    """Whether other pieces write here, too; over tcp each may have a directory of its own."""
    run = next(iter(pieces)).run
    names = fs.listdir(run.path)
    try:
        names += fs.listdir(run.exchange)
    except FileNotFoundError:
        pass
    return all(any(map(piece.has_written, names)) for piece in pieces)


def _is_at_work(piece: PieceDir) -> bool:
    """Whether a piece trains, as far as can be seen here; one that has just started does not."""
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
    """What became of a piece's checkpoints."""
    recorded = commit.recorded(piece, fs)
    what = f"{piece.name}'s latest whole checkpoint is {latest.iteration if latest else 'none'}"
    newest = max(recorded, default=-1)
    found = commit.whole(piece, newest, fs) if recorded else ""
    if isinstance(found, str) and found:
        what += f" ({os.path.basename(piece.at(newest).record)}: {found})"
    return what
