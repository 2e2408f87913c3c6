"""The messages that are kept on the disk for the sake of a restart: how much, and until when."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Optional

from dualnet.config import CutEnd
from dualnet.exchange.link import Link
from dualnet.exchange.paths import DataName, RunPaths
from dualnet.fs import Fs
from dualnet.rundir import PieceDir, RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets

__all__ = ["iteration_bytes", "remove_tests_after", "remove_when_over"]


def iteration_bytes(nets: Nets, session: Session, end: CutEnd) -> int:
    """Bytes that a piece sends over a link in one iteration, its share of the tests included.

    Args:
        nets: The piece's nets.
        session: Its tests and checkpoints.
        end: Its end of the cut there.
    """
    cut, rule, resolved = end.cut, end.coupling.rule, nets.resolved
    compared = resolved.compared_above if end.is_lower else resolved.compared_below
    outputs = sum(nets.train.data(name).nbytes for name in compared.values())
    times = end.coupling.alternations if rule.alternates else 1
    if not end.is_lower:
        sent = outputs * times
        if rule.sends_gradients:
            sent = sum(nets.train.data(name).nbytes for name in cut.blobs)
        sent *= resolved.iter_size
        if end.coupling.tie == "every":
            layers = list(cut.dual.values())
            sent += sum(values.nbytes for values in nets.train.parameters(layers).values())
        return sent
    names = [*cut.blobs, *cut.labels]
    sent = sum(nets.train.data(name).nbytes for name in names)
    sent = (sent + outputs * times * rule.asks_at_points) * resolved.iter_size
    if session.test_iter and session.test_interval:
        test = sum(nets.test.data(name).nbytes for name in names) * session.test_iter
        # At least one test falls between two checkpoints.
        sent += test // min(session.test_interval, max(session.snapshot_interval, 1))
    return sent


def remove_when_over(run: RunDir, chain: Sequence[str], max_iter: Optional[int] = None) -> None:
    """Where all pieces have come to their end, no message is needed any more.

    Also for a piece that finds itself complete: the one that died right after it was has not. A
    piece whose last checkpoint is damaged is not at its end: it needs them. A file that cannot be
    deleted is skipped; it only takes disk space.

    Args:
        run: The run.
        chain: The names of all pieces, from the data to the loss.
        max_iter: See `commit.complete`.
    """
    for piece in map(run.piece, chain):
        is_complete = commit.complete(piece, max_iter)
        last = commit.latest(piece) if is_complete else None
        if last is None or not commit.is_end(last, max_iter):
            return
    for lower, upper in zip(chain, chain[1:]):
        _remove(run, Link(lower, upper), lambda name: True)


def remove_tests_after(piece: PieceDir, link: Link, iteration: int, sent: int) -> None:
    """Remove the messages of the final test of a run that was complete and is made longer.

    A run of the new length has no test there, and sends other messages under these numbers.

    Args:
        piece: Whose messages.
        link: Over which link they went.
        iteration: Of the last checkpoint.
        sent: Messages before it.
    """

    def is_last_test(name: DataName) -> bool:
        is_own = (name.piece, name.iteration) == (piece.name, iteration)
        return is_own and name.seq > sent and name.kind.startswith("test")

    _remove(piece.run, link, is_last_test)


def _remove(run: RunDir, link: Link, condition: Callable[[DataName], bool]) -> None:
    fs, paths = Fs(), RunPaths(run.exchange).link(link)
    try:
        names = fs.listdir(paths.root)
    except OSError:
        return
    for name in names:
        parsed = DataName.parse(name)
        if parsed is not None and condition(parsed):
            try:
                fs.unlink(os.path.join(paths.root, name))
            except OSError:
                continue  # the neighbour was faster
