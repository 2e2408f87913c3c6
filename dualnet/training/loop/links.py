"""A piece's links and its membership, as a session and its checkpoints need them.

The single net has neither: its `Links()` has no messages to count and nobody to notify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np

from dualnet.exchange.channel import Channel, Counters, Presence

__all__ = ["Links"]


class Links:
    """The ends of a piece's links.

    Args:
        channels: Its ends, that to the piece below first.
        presence: This process in the run.
        epoch: How often the piece has been started in this run.
    """

    def __init__(
        self,
        channels: Sequence[Channel] = (),
        presence: Optional[Presence] = None,
        epoch: int = 1,
    ) -> None:
        self.channels, self.presence, self.epoch = tuple(channels), presence, epoch

    def counts(self) -> dict[str, list[int]]:
        """Messages sent and received so far, by the name of the link."""
        return {one.link.name: [one.seq_sent, one.seq_received] for one in self.channels}

    @property
    def counters(self) -> Counters:
        """What the exchange has taken so far, over all links."""
        return Counters.total(one.counters for one in self.channels)

    @property
    def by_link(self) -> dict[str, Counters]:
        """What the exchange has taken so far over each link, by its name."""
        return {one.link.name: one.counters for one in self.channels}

    @property
    def waiting(self) -> Optional[Channel]:
        """The end at which a message is waited for at present; None while the piece works."""
        return next((one for one in self.channels if one.awaited), None)

    def checkpoint_passed(self, iteration: int) -> None:
        """Notify every neighbour that a durable checkpoint covers all messages so far."""
        for channel in self.channels:
            channel.checkpoint_passed(iteration)

    def progress(self) -> None:
        """Count progress, and check that no other process has taken over this piece.

        Raises:
            Superseded: One has.
        """
        if self.presence is not None:
            self.presence.progress()

    def report(self, state: str) -> None:
        """Publish why this piece is blocked; "running" when it continues."""
        if self.presence is not None:
            self.presence.report(state)

    # What a checkpoint holds of them beside the counts (`extras.Stateful`).

    def state(self) -> dict[str, np.ndarray]:
        """What error feedback has left over, by `LINK:NAME`."""
        return {
            f"{one.link.name}:{name}": values
            for one in self.channels
            for name, values in one.state().items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned; before any channel resumes."""
        for one in self.channels:
            prefix = f"{one.link.name}:"
            own = {
                name[len(prefix) :]: values
                for name, values in state.items()
                if name.startswith(prefix)
            }
            one.restore(own)
