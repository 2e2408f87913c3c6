"""Reads one piece's message files, for resends after a restart and for a neighbour that has ended.

Where there are checkpoints, a piece that sends over TCP also keeps its messages as files, in the
format of the carrier of files. They outlive the process.
"""

from __future__ import annotations

from dualnet.errors import DualnetError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.safefile import Damaged
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.neighbour import Neighbour
from dualnet.exchange.files.retention import find_messages
from dualnet.exchange.link import Link
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["MessageFiles"]


class MessageFiles:
    """Read-only access to the files of one piece; what cannot be read is not there.

    Args:
        membership, link, hasher, settings: see their classes.
        piece: whose files.
    """

    def __init__(
        self,
        membership: Membership,
        link: Link,
        hasher: Hasher,
        settings: ExchangeSettings,
        piece: str,
    ) -> None:
        self._fs = membership.fs
        self._paths = membership.paths.link(link)
        self._writer = Neighbour(membership, link, piece)
        self._inbox = Inbox(membership, link, hasher, self._writer, settings)

    def read(self, seq: int) -> Message | None:
        """Message `seq`, verified."""
        try:
            self._writer.poll()
            source = self._writer.locate(seq)
            names = find_messages(self._fs, self._paths, self._writer.piece).get(seq)
            if source is None or not names:
                return None
            return self._inbox.read(source, seq, names[0].kind, names[0].iteration)
        except (OSError, Damaged, DualnetError):
            return None

    def final_heartbeat(self) -> Pulse | None:
        """The heartbeat file of the latest start, if that start has ended."""
        try:
            self._writer.poll()
            pulse = self._writer.pulse() if self._writer.epoch else None
        except OSError:
            return None
        return pulse if pulse is not None and pulse.ended else None
