"""How a training ends: after its last iteration, or earlier in a way that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Callable, Optional

from dualnet.config import Config
from dualnet.errors import StorageFailed
from dualnet.exchange.disk.storage import remedy
from dualnet.process.stopping import Stopped, Stopper
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.resolve import Resolved

__all__ = ["Progress", "stoppable", "train_to_end"]

#: Called with the session before its first iteration.
Progress = Optional[Callable[[Session], None]]


@contextmanager
def stoppable(config: Config, resolved: Resolved, outer: Optional[Stopper]) -> Iterator[Stopper]:
    """Context of a training: stop signals raise Stopped, disk errors become StorageFailed.

    Args:
        config: The run.
        resolved: The piece whose training it is.
        outer: Takes the signals already; default one of its own.

    Raises:
        StorageFailed: A disk error that no retry loop handled.
        Stopped: By a signal; its exit code is 0 if the same command can resume.
    """
    with nullcontext(outer) if outer else Stopper(config.train.stop_within_s) as stopper:
        stopper.defer()  # until the training begins
        try:
            yield stopper
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise StorageFailed(
                f"{resolved.name}: {where}{error.strerror or error}; {remedy(error)}"
            ) from error
        except Stopped as error:
            if error.can_resume or not _can_resume(resolved):
                raise
            remark = f"the same command continues {resolved.name} from its last checkpoint"
            raise Stopped(error.number, remark) from error


def train_to_end(session: Session, loop: PieceLoop) -> None:
    """Run a loop to its end, or to the signal that stops it.

    Args:
        session: Its iterations.
        loop: The piece's loop.

    Raises:
        Stopped: A signal did; where checkpoints are made there may be one of this iteration now.
    """
    # Without checkpoints a piece cannot resume: let the first signal raise at once.
    session.stopper.defers_first_signal = _can_resume(session.nets.resolved)
    session.stopper.resume()
    try:
        loop.run()
        # From here there is a final checkpoint in any case.
        session.stopper.defers_first_signal = True
    except Stopped as error:
        if not _can_resume(session.nets.resolved):
            raise
        where = "here" if session.stop() else "its last checkpoint"
        raise Stopped(
            error.number,
            f"iteration {session.iteration}; the same command continues {session.nets.name} from "
            f"{where}",
        ) from error


def _can_resume(resolved: Resolved) -> bool:
    """Whether a stopped run can resume: always for `single`, else only with checkpoints."""
    return resolved.name == "single" or resolved.solver.snapshot > 0
