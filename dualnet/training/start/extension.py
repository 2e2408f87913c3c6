"""Another `train.max_iter` than before: when a run may go on with it.

It may, as long as nothing that was computed would have been computed otherwise: iterations that are
done stay done, and with a schedule that depends on max_iter, lr_policy poly, only a run that is
complete may be made longer. What then follows has the rates of the new schedule; what was done
before had those of the old.

A run that is made longer trains as one of that length from the start would, but for poly, and but
for `train.schedule: overlapped`, where it is as if there had been a checkpoint at the old end.
"""

from __future__ import annotations

from typing import Optional

from dualnet.config import Config
from dualnet.config.chain import SINGLE
from dualnet.errors import UsageError
from dualnet.rundir import PieceDir
from dualnet.training.checkpoint import commit
from dualnet.training.net.resolve import Resolved
from dualnet.training.start.identity import Inputs, RunId, read_inputs

__all__ = ["check_length", "check_rates", "describe", "unrepeatable"]


def check_length(config: Config, known: RunId, resolved: Resolved, before: Inputs) -> None:
    """Check that a piece may train for as long as its solver now says.

    Args:
        config: The run.
        known: Whose its directory is.
        resolved: The piece's solver and net.
        before: What the piece was made of when it was last started.

    Raises:
        UsageError: It may not; the message has both values.
    """
    wanted, run = resolved.max_iter, resolved.dir.run
    names = (SINGLE,) if known.kind == SINGLE else config.names
    pieces = [run.piece(name) for name in names]
    for piece in pieces:
        done = max(commit.iterations(piece), default=0)
        if done > wanted:
            raise UsageError(
                f"{run}: train.max_iter is {wanted}, but {piece.name} has made {done} iterations; "
                f"set {done} or more, or choose another run directory"
            )
    if wanted == before.max_iter or not _is_poly(config, resolved):
        return
    # A piece that has left nothing here has a directory of its own, and checks for itself.
    here = [one for one in pieces if one == resolved.dir or read_inputs(one) is not None]
    if not all(_is_settled(piece, wanted) for piece in here):
        raise UsageError(
            f"{run}: train.max_iter is {wanted}, was {before.max_iter} when this run began, "
            f"and lr_policy poly in {config.piece(resolved.name).solver} counts on it; finish with "
            f"{before.max_iter} first and then go on, or choose another run directory"
        )


def _is_poly(config: Config, resolved: Resolved) -> bool:
    return config.update.rule == "solver" and resolved.solver.lr_policy == "poly"


def _is_settled(piece: PieceDir, max_iter: int) -> bool:
    """Whether a piece is complete and its end as it was written, or goes on from there already."""
    found = commit.latest(piece)
    newest = max(commit.recorded(piece), default=0)
    if found is not None and commit.is_end(found) and found.iteration == newest:
        return True
    inputs = read_inputs(piece)
    return inputs is not None and inputs.max_iter == max_iter


def unrepeatable(
    config: Config, resolved: Resolved, before: Optional[Inputs], iteration: int
) -> int:
    """How many iterations had learning rates that this config does not give them any more.

    Args:
        config: The run.
        resolved: The piece's solver and net.
        before: What the piece was made of when it was last started.
        iteration: Where it goes on from.
    """
    if before is None or before.max_iter == resolved.max_iter:
        return before.since if before is not None else 0
    return iteration if _is_poly(config, resolved) else 0


def check_rates(piece: PieceDir, iteration: int) -> None:
    """Check that going on from an iteration repeats none that had other learning rates.

    Raises:
        UsageError: It does; nothing was changed.
    """
    before = read_inputs(piece)
    if before is None or iteration >= before.since:
        return
    raise UsageError(
        f"{piece.run}: {piece.name} would go on from iteration {iteration}, but with "
        f"lr_policy poly those before {before.since} had the rates of another train.max_iter "
        f"than {before.max_iter} and cannot be made again; put the checkpoint of iteration "
        f"{before.since} or a later one back from a copy, or train in another run directory"
    )


def describe(config: Config, resolved: Resolved, before: Optional[Inputs]) -> str:
    """What the log says of a run whose length is another than before; "" where it is not.

    Args:
        config: The run.
        resolved: The piece's solver and net.
        before: What the piece was made of when it was last started.
    """
    if before is None or before.max_iter == resolved.max_iter:
        return ""
    text = f"train.max_iter is {resolved.max_iter} now, was {before.max_iter}"
    if _is_poly(config, resolved):
        text += (
            f"; lr_policy poly: from here on the rates are those of a training of "
            f"{resolved.max_iter} iterations, which would have begun with others"
        )
    return text
