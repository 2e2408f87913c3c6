"""While a half waits for the other: its own status is kept up to date, and an absence noted."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

from dualnet.exchange import Channel
from dualnet.exchange.peek import peek
from dualnet.rundir import PieceDir, RunDir
from dualnet.train.checkpoint import commit
from dualnet.train.loop.session import Session

__all__ = ["unless_complete", "watch_waits"]

T = TypeVar("T")

#: Time between two looks at whether the partner has left: while stopping, and in a wait that has
#: lasted longer than the other.
_LOOK_S, _QUIET_S = 0.3, 5.0


def watch_waits(channel: Channel, session: Session) -> None:
    """From now on do so in each wait on this channel.

    Args:
        channel: The way to the partner.
        session: The training that waits.
    """
    stopper, partner = session.stopper, channel.partner
    partner_dir = session.dir.run.piece(partner)
    grace_s = session.nets.config.exchange.restart_grace_s
    since_s = looked_s = time.monotonic()
    awaited = told = ""

    def on_wait() -> None:
        nonlocal awaited, told, since_s, looked_s
        stopper.check()
        session.status_file.show(session.iteration, session.loss)
        now_s = time.monotonic()
        if channel.awaited != awaited:
            awaited, since_s = channel.awaited, now_s
        if now_s - looked_s < _LOOK_S or not (stopper.requested or now_s - since_s > _QUIET_S):
            return
        looked_s = now_s
        left = _has_left(partner_dir)
        if left and stopper.requested:
            # While both halves are being stopped, the first to leave keeps the other from going on.
            raise stopper.error()
        if left and told != awaited:
            told = awaited
            session.log.warning(
                f"{partner} is gone ({left}) while {awaited} is awaited; waiting {grace_s:g} s at "
                "most for it to be started again"
            )

    channel.on_wait = on_wait


class _IsComplete(Exception):
    """The partner has come to its end and will not answer."""


def unless_complete(
    run: RunDir, channel: Channel, max_iter: int, wait: Callable[[], T]
) -> Optional[T]:
    """Wait for the partner, but not for one that is complete, or becomes so meanwhile.

    That one has left; all that it had to say is in its messages.

    Args:
        run: The run.
        channel: The way to the partner.
        max_iter: Iterations that are to be made: an end before them was none.
        wait: What waits for it.

    Returns:
        What `wait` does; None if the partner is complete.
    """
    partner = run.piece(channel.partner)
    usual, looked_s = channel.on_wait, -float("inf")

    def look() -> None:
        nonlocal looked_s
        if usual is not None:
            usual()
        now_s = time.monotonic()
        if now_s - looked_s >= _LOOK_S:
            looked_s = now_s
            if commit.complete(partner, max_iter):
                raise _IsComplete

    channel.on_wait = look
    try:
        if commit.complete(partner, max_iter):
            return None
        return wait()
    except _IsComplete:
        return None
    finally:
        channel.on_wait = usual


def _has_left(piece: PieceDir) -> str:
    """Why a half does not run, "" if it does or that cannot be told."""
    view = peek(piece.run.path).piece(piece.name)
    if view.state.startswith(("stopped", "done", "failed")):
        return view.state
    return "it was killed" if view.alive is False else ""
