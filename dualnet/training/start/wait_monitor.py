"""What a process does while its piece waits for a neighbour's message, or for the neighbour."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

from dualnet.exchange.channel import Channel, Presence
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.loop.session import Session

__all__ = ["install_wait_callback", "unless_complete"]

T = TypeVar("T")

#: Seconds between two checks of whether the neighbour has ended.
_CHECK_S = 0.3
#: In waits shorter than this it is not checked, unless a signal asks to stop.
_QUIET_S = 5.0


def install_wait_callback(presence: Presence, session: Session) -> None:
    """Set `presence.on_wait`, which every wait of this process calls again and again.

    It refreshes the status file and logs, once for each message, that the neighbour has ended. It
    raises Stopped (or KeyboardInterrupt) for a deferred signal, and where a signal asks to stop and
    the neighbour has ended: its message will not come.

    Args:
        presence: This process in the run.
        session: The training that waits.
    """
    stopper = session.stopper
    grace_s = session.nets.config.exchange.restart_grace_s
    since_s = checked_s = time.monotonic()
    awaited = noted = ("", "")

    def on_wait() -> None:
        nonlocal awaited, noted, since_s, checked_s
        stopper.check()
        session.status_file.show(session.iteration, session.lines.loss)
        if session.on_wait is not None:
            session.on_wait()
        now_s = time.monotonic()
        channel = session.links.waiting
        now_awaited = (channel.neighbour, channel.awaited) if channel is not None else ("", "")
        if now_awaited != awaited:
            awaited, since_s = now_awaited, now_s
        is_due = now_s - checked_s >= _CHECK_S and (stopper.requested or now_s - since_s > _QUIET_S)
        if channel is None or not is_due:
            return
        checked_s = now_s
        left = channel.neighbour_left()
        if left and stopper.requested:
            # All are being stopped, and the neighbour has ended first: its message will not come.
            raise stopper.error()
        if left and noted != awaited:
            noted = awaited
            session.log.warning(
                f"{channel.neighbour} is gone ({left}) while {channel.awaited} is awaited; waiting "
                f"{grace_s:g} s at most for it to be started again"
            )

    presence.on_wait = on_wait


class _IsComplete(Exception):
    """The neighbour has come to its end and will not answer."""


def unless_complete(
    run: RunDir, presence: Presence, channel: Channel, max_iter: int, wait: Callable[[], T]
) -> Optional[T]:
    """Wait for a neighbour, unless it is complete or becomes so meanwhile.

    A complete piece does not answer any more; its messages are on the disk.

    Args:
        run: The run.
        presence: This process in it.
        channel: Message channel to the neighbour.
        max_iter: Iterations to be made; see `commit.complete`.
        wait: Waits for it, calling `presence.on_wait`.

    Returns:
        The result of `wait`; None if the neighbour is complete.
    """
    neighbour = run.piece(channel.neighbour)
    usual, checked_s = presence.on_wait, -float("inf")

    def check() -> None:
        nonlocal checked_s
        if usual is not None:
            usual()
        now_s = time.monotonic()
        if now_s - checked_s >= _CHECK_S:
            checked_s = now_s
            if commit.complete(neighbour, max_iter):
                raise _IsComplete

    presence.on_wait = check
    try:
        if commit.complete(neighbour, max_iter):
            return None
        return wait()
    except _IsComplete:
        return None
    finally:
        presence.on_wait = usual
