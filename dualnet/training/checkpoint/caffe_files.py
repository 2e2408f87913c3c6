"""Snapshots in Caffe's own formats: weights (caffemodel) and solver history (solverstate).

Caffe writes them in place and names them after its own count of updates, which does not count under
the manual update rule. Here they are written beside the target, given the number of completed
iterations, and renamed, so that a snapshot with a name is a whole one.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Callable, Optional

from dualnet import backend
from dualnet.atomic import read_whole, replace, write_atomically
from dualnet.backend import caffe_pb2
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import data_layers
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import UsageError
from dualnet.exchange.disk.storage import wait_for_room
from dualnet.fs import SYSTEM, Fs
from dualnet.rundir import PieceDir, RunDir, Snapshot
from dualnet.training.checkpoint import commit
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import Resolved

__all__ = ["clean", "find", "restore", "save", "set_apart"]

LOGGER = logging.getLogger(__name__)

#: Room for the names and shapes in a snapshot.
_OVERHEAD_BYTES = 1 << 16


def save(nets: Nets, iteration: int, fs: Fs = SYSTEM) -> tuple[str, str]:
    """Write a piece's weights and solver state.

    Returns:
        The paths of both.

    Raises:
        OSError: As the system says; partly written files are removed then, so that a full disk
            has room again and the call can be repeated.
    """
    # The solver writes at its prefix, under its own count of updates.
    written = Snapshot(nets.resolved.solver.snapshot_prefix, nets.solver.iter)
    target = nets.resolved.dir.at(iteration)
    try:
        _snapshot(nets, written, fs)
        message = caffe_pb2.SolverState.FromString(read_whole(written.state, fs))
        message.iter = iteration * nets.resolved.updates_per_iteration
        message.learned_net = target.weights
        # The model comes last: a snapshot whose model is there is complete.
        write_atomically(target.state, message.SerializeToString(), fs)
        replace(written.weights, target.weights, fs)
        fs.unlink(written.state)
    except BaseException:
        for path in (written.weights, written.state, written.room):
            try:
                fs.unlink(path)
            except OSError:
                continue  # not written yet, or the next start removes it
        raise
    return target.weights, target.state


def _snapshot(nets: Nets, written: Snapshot, fs: Fs) -> None:
    """Let the solver write its files; a disk error is raised as OSError."""
    if backend.provider == "bvlc":
        _find_room(nets, written, fs)
    try:
        nets.solver.snapshot()
    except Exception as error:
        if isinstance(error.__cause__, OSError):  # the engine wraps it in an error of its own
            raise error.__cause__ from error
        raise


def _find_room(nets: Nets, written: Snapshot, fs: Fs) -> None:
    """Allocate a file of the snapshot's size first, and remove it again.

    BVLC Caffe aborts on a full or read-only disk; raising OSError here lets the caller wait and
    retry.

    Raises:
        OSError: There is no room, or the disk cannot be written.
    """
    params = nets.solver.net.params.values()
    weights = sum(blob.data.nbytes for blobs in params for blob in blobs)
    descriptor = fs.open(written.room, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
    try:
        # Weights, and no solver type keeps more than two values for each.
        fs.allocate(descriptor, 3 * weights + _OVERHEAD_BYTES)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # fallocate is not supported
            raise
    finally:
        fs.close(descriptor)
        fs.unlink(written.room)


def restore(
    nets: Nets,
    iteration: int,
    test_batches: int = 0,
    progress: Callable[[], None] = lambda: None,
    on_blocked: Callable[[str], None] = lambda state: None,
    fs: Fs = SYSTEM,
) -> None:
    """Load weights and solver history, and move the data layers to where they were.

    Args:
        nets: Built, not trained yet.
        iteration: Of the snapshot.
        test_batches: Test batches that were read before it.
        progress: Called after each batch that is skipped.
        on_blocked: Called when a full disk blocks it, and when it no longer does; see `Storage`.
        fs: The clock.

    Raises:
        UsageError: There is no such snapshot.
        OSError: As the system says.
    """
    files = nets.resolved.dir.at(iteration)
    for path in (files.weights, files.state):
        if not os.path.exists(path):
            raise UsageError(
                f"{path}: missing; {nets.name} cannot continue from iteration {iteration}"
            )
    _restore_solver(nets, files, on_blocked, fs)
    _skip(nets.train, nets.resolved.train, iteration * nets.resolved.solver.iter_size, progress)
    if test_batches:
        _skip(nets.test, nets.resolved.test, test_batches, progress)


def _skip(net: NetDriver, graph: NetGraph, batches: int, progress: Callable[[], None]) -> None:
    """Run the data layers for batches that are done: they read on and draw their random numbers."""
    readers = data_layers(graph)
    for _ in range(batches if readers else 0):
        net.run(readers)
        progress()


def _restore_solver(nets: Nets, files: Snapshot, on_blocked: Callable[[str], None], fs: Fs) -> None:
    """Restore from a copy of the solverstate that names the caffemodel where it is now.

    A solverstate has its caffemodel's path of when it was written; if the run directory was moved,
    or the working directory is another one, BVLC Caffe aborts.
    """
    with open(files.state, "rb", opener=regular_only) as file:
        message = caffe_pb2.SolverState.FromString(file.read())
    message.learned_net = files.weights
    copy = Snapshot(f"{nets.resolved.solver.snapshot_prefix}_restore", files.iteration).state
    wait_for_room(
        lambda: write_atomically(copy, message.SerializeToString()),
        nets.config.exchange.storage_timeout_s,
        fs,
        on_blocked,
    )
    try:
        nets.solver.restore(copy)
    finally:
        os.unlink(copy)


def set_apart(resolved: Resolved, start: int) -> None:
    """Give a start of a piece temporary file names of its own.

    A process that was suspended and replaced may continue in the middle of a snapshot: it must not
    write into the files of its successor.

    Args:
        resolved: Whose solver writes the snapshots; not written to the run directory yet.
        start: Another number for each start: the epoch.
    """
    resolved.solver.snapshot_prefix += f".e{start:06d}"


def clean(piece: PieceDir) -> None:
    """Remove the temporary files of a start of this piece that was killed.

    What is no regular file and has the name of a checkpoint's file is renamed.
    """
    for name in os.listdir(piece.run):
        path = os.path.join(piece.run, name)
        if piece.is_temporary(name):
            os.unlink(path)
        elif piece.is_of_checkpoint(name) and not os.path.isfile(path):
            os.rename(path, piece.aside(name))


def find(run: RunDir, iteration: Optional[int] = None) -> tuple[int, list[PieceDir]]:
    """The latest snapshot that every piece of a run has, or that of `iteration`; a whole one.

    A damaged or lost one is an error, an earlier one is never taken in its place. Where a run has
    no records at all, a warning says that nothing could be checked.

    Returns:
        Its iteration, and the pieces, from the data to the loss.

    Raises:
        UsageError: There is none, or it is damaged.
    """
    pieces = run.pieces()
    recorded = {piece: set(commit.recorded(piece)) for piece in pieces}
    names = os.listdir(run)
    have = {piece: set(piece.saved(names)) | recorded[piece] for piece in pieces}
    common = set.intersection(*have.values())
    wanted = "that every piece has" if iteration is None else f"of iteration {iteration}"
    if iteration is None:
        iteration = max(common, default=None)
        ended = [i for i in set.union(*have.values()) if _is_end(i, recorded)]
        if ended and (iteration is None or max(ended) > iteration):
            iteration = max(ended)  # a piece has lost all that it had of it
    elif iteration not in common:
        iteration = None
    if iteration is None:
        raise UsageError(_none(run, have, common, wanted))
    if any(recorded.values()):
        problems = [_problem(piece, iteration) for piece in pieces]
        if any(problems):
            raise UsageError(_damaged(next(filter(None, problems)), have))
        _check_one_run(run, pieces, iteration)
    else:
        LOGGER.warning(
            "%s: no records of checkpoints: whether the snapshot of iteration %d is as it was "
            "written cannot be checked", run, iteration,
        )  # fmt: skip
    return iteration, pieces


def _check_one_run(run: RunDir, pieces: list[PieceDir], iteration: int) -> None:
    """Check that the pieces' checkpoints are of one run."""
    found = {piece.name: commit.read(piece, iteration) for piece in pieces}
    runs = {name: one.run for name, one in found.items() if isinstance(one, commit.Commit)}
    if len(set(runs.values())) > 1:
        each = ", ".join(f"{name}'s is of run {one or 'unknown'}" for name, one in runs.items())
        raise UsageError(
            f"{run}: the checkpoints of iteration {iteration} are not of one run: {each}; put this "
            f"run's own back ({os.path.basename(run.identity)} has its number)"
        )


def _is_end(iteration: int, recorded: dict[PieceDir, set[int]]) -> bool:
    """Whether a piece has recorded that the run came to its end there."""
    for piece, numbers in recorded.items():
        found = commit.read(piece, iteration) if iteration in numbers else ""
        if isinstance(found, commit.Commit) and found.complete:
            return True
    return False


def _problem(piece: PieceDir, iteration: int) -> str:
    """What is wrong with a snapshot, "" if nothing is."""
    found = commit.whole(piece, iteration)
    if isinstance(found, commit.Commit):
        return ""
    record = piece.at(iteration).record
    if not os.path.lexists(record):
        return f"{record}: the checkpoint has no record: it is being written, or the record is lost"
    return f"{record}: {found}"


def _damaged(problem: str, have: dict[PieceDir, set[int]]) -> str:
    """The message about a damaged snapshot."""
    common = set.intersection(*have.values())
    whole = sorted(i for i in common if not any(_problem(piece, i) for piece in have))
    if not whole:
        return f"{problem}; no other is whole: put it back from a copy, or train in a new directory"
    return (
        f"{problem}; the command that trained it trains on from what is whole, or name one that "
        f"is: --iteration {whole[-1]}"
    )


def _none(run: RunDir, have: dict[PieceDir, set[int]], common: set[int], wanted: str) -> str:
    """The message about a snapshot that is not there."""
    each = [f"{piece.name}: {sorted(numbers) or 'none'}" for piece, numbers in have.items()]
    remedy = (
        f"name one of {sorted(common)}"
        if common
        else "let both train on until each has written one of the same iteration; more of them "
        "stay with a larger train.keep"
    )
    return f"{run}: no snapshot {wanted}; snapshots there: {'; '.join(each)}; {remedy}"
