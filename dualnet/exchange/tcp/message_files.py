"""Messages of one half as they lie in the exchange directory, for those who missed them.

Where there are checkpoints, a half that sends over TCP also keeps its messages as files, in the
format of the carrier of files. They outlive the process: a half that starts again reads its own
from here to send them again, and its partner's where that has left.
"""

from __future__ import annotations

from dualnet.errors import DualnetError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.disk.mounts import Care
from dualnet.exchange.disk.safefile import Damaged
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.neighbour import Partner
from dualnet.exchange.files.retention import find_messages
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.manifest import Manifest
from dualnet.fs import Fs

__all__ = ["Shelf"]


class Shelf:
    """Reads the files of one role; what cannot be read is not there.

    Args:
        fs, paths, manifest, hasher, care: see their classes.
        role: whose.
        limit_bytes: the largest message to accept.
    """

    def __init__(
        self,
        fs: Fs,
        paths: ExchangePaths,
        manifest: Manifest,
        hasher: Hasher,
        care: Care,
        role: str,
        limit_bytes: int,
    ) -> None:
        self._fs = fs
        self._paths = paths
        self._half = Partner(fs, paths, manifest, role, care)
        self._inbox = Inbox(fs, paths, manifest, hasher, self._half, True, limit_bytes)

    def read(self, seq: int) -> Message | None:
        """Message `seq`, verified."""
        try:
            self._half.poll()
            source = self._half.locate(seq)
            names = find_messages(self._fs, self._paths, self._half.role).get(seq)
            if source is None or not names:
                return None
            return self._inbox.read(source, seq, names[0].stage, names[0].iteration)
        except (OSError, Damaged, DualnetError):
            return None

    def last_words(self) -> Pulse | None:
        """The last heartbeat file of the latest start, if that start has ended."""
        try:
            self._half.poll()
            pulse = self._half.pulse() if self._half.epoch else None
        except OSError:
            return None
        return pulse if pulse is not None and pulse.ended else None
