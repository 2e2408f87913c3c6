"""Another `train.max_iter` than before: when a run may go on with it.

It may, as long as nothing that was computed would have been computed otherwise: iterations that are
done stay done, and a schedule that counts on max_iter, lr_policy poly, may only be met by a run
that is complete. What then follows has the rates of the new schedule from there on; what was done
before had those of the old.

A run that is made longer trains as one of that length from the start would, but for poly, and but
for `train.schedule: overlapped`, where it is as if there had been a checkpoint at the old end.
"""

from __future__ import annotations

from typing import Optional

from dualnet.config import Config
from dualnet.errors import UsageError
from dualnet.train import commit
from dualnet.train.identity import Inputs, RunId, read_inputs
from dualnet.train.resolve import Resolved

__all__ = ["check_length", "describe"]


def check_length(
    config: Config, run_dir: str, known: RunId, resolved: Resolved, before: Inputs
) -> None:
    """Check that a role may train for as long as its solver now says.

    Args:
        config: The run.
        run_dir: Its directory.
        known: Whose that is.
        resolved: The role's solver and net.
        before: What the role was made of when it was last started.

    Raises:
        UsageError: It may not; the message has both values.
    """
    wanted = resolved.max_iter
    for role in known.roles:
        done = max(commit.iterations(run_dir, role), default=0)
        if done > wanted:
            raise UsageError(
                f"{run_dir}: train.max_iter is {wanted}, but {role} has made {done} iterations; "
                f"set {done} or more, or choose another run directory"
            )
    if wanted == before.max_iter or not _is_poly(config, resolved):
        return
    if not all(_is_settled(run_dir, role, wanted) for role in known.roles):
        raise UsageError(
            f"{run_dir}: train.max_iter is {wanted}, was {before.max_iter} when this run began, "
            f"and lr_policy poly in {config.half(resolved.role).solver} counts on it; finish with "
            f"{before.max_iter} first and then go on, or choose another run directory"
        )


def _is_poly(config: Config, resolved: Resolved) -> bool:
    return config.update.rule == "solver" and resolved.solver.lr_policy == "poly"


def _is_settled(run_dir: str, role: str, max_iter: int) -> bool:
    """Whether a role is complete, or goes on from there already."""
    if commit.complete(run_dir, role):
        return True
    inputs = read_inputs(run_dir, role)
    return inputs is not None and inputs.max_iter == max_iter


def describe(config: Config, resolved: Resolved, before: Optional[Inputs]) -> str:
    """What the log says of a run whose length is another than before; "" where it is not.

    Args:
        config: The run.
        resolved: The role's solver and net.
        before: What the role was made of when it was last started.
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
