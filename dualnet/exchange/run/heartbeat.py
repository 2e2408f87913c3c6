"""Heartbeat file of a piece, rewritten in place by a thread every few seconds.

The file is made once at its full size, so a full disk cannot keep a piece from beating. A torn read
fails its HMAC and counts as "nothing new".
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.paths import RunPaths
from dualnet.fs import Fs

__all__ = ["HEARTBEAT_BYTES", "Heartbeat", "Pulse", "read_pulse"]

LOGGER = logging.getLogger(__name__)

HEARTBEAT_BYTES = 1024
_LONGEST_STATE = 500
# Time between two heartbeats while a neighbour needs to see soon that we are alive.
_FAST_S = 0.5


@dataclass(frozen=True)
class Pulse:
    """One heartbeat.

    Attributes:
        run, piece, epoch: whose.
        nonce: differs in every heartbeat; a change proves that the process is alive, independent of
            clocks.
        progress: grows whenever the piece gets something done.
        state: "starting", "running", "blocked:<errno>", "done", "stopped" or "failed: <why>".
        waits_for: the piece whose message this one waits for; "" while it works.
        links: link name to messages sent and received. That a link is named here announces its
            status record.
    """

    run: str
    piece: str
    epoch: int
    nonce: str = ""
    progress: int = 0
    state: str = "starting"
    waits_for: str = ""
    links: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the piece itself wrote that it has left the run."""
        return self.state in ("done", "stopped") or self.state.startswith("failed")

    def seal(self, key: bytes) -> bytes:
        """The bytes of the file, always HEARTBEAT_BYTES long."""
        fields = {**asdict(self), "links": dict(self.links)}
        return seal(key, "heartbeat", fields, HEARTBEAT_BYTES).ljust(HEARTBEAT_BYTES)

    @classmethod
    def unseal(cls, key: bytes, data: bytes) -> Pulse:
        """The heartbeat in a file's bytes.

        Raises:
            BadRecord: torn, or none of this run.
        """
        return cls.from_fields(unseal(key, "heartbeat", data, HEARTBEAT_BYTES))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Pulse:
        """The heartbeat with these fields of JSON.

        Raises:
            BadRecord: they are not those of one.
        """
        try:
            links = {name: (int(s), int(r)) for name, (s, r) in dict(fields["links"]).items()}
            return cls(**{**fields, "links": links})
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecord(f"heartbeat record: {error}") from error

    def counts(self, link: str) -> tuple[int, int]:
        """Messages sent and received over a link."""
        return self.links.get(link, (0, 0))


def read_pulse(
    fs: Fs, paths: RunPaths, key: bytes, run: str, piece: str, epoch: int
) -> Pulse | None:
    """A piece's last heartbeat, or None if there is none to be read now."""
    try:
        data = read_small(fs, paths.heartbeat(piece, epoch), HEARTBEAT_BYTES)
        pulse = Pulse.unseal(key, data)
    except (OSError, Damaged, BadRecord):
        return None
    return pulse if (pulse.run, pulse.piece, pulse.epoch) == (run, piece, epoch) else None


class Heartbeat:
    """Writes one piece's heartbeat; the file must exist.

    Args:
        fs: all I/O.
        path: the file.
        key: the run's secret.
        pulse: run, piece and epoch.
        beat_s: time between two heartbeats.
        sync: bring each to stable storage.
    """

    def __init__(
        self, fs: Fs, path: str, key: bytes, pulse: Pulse, beat_s: float, sync: bool
    ) -> None:
        self._fs = fs
        self._path = path
        self._key = key
        self._pulse = pulse
        self._beat_s = self._pause_s = beat_s
        self._sync = sync
        self._life = fs.random(8).hex()
        self._beats = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat from now on, in a thread that does not keep the process alive."""
        thread = threading.Thread(target=self._run, name="dualnet-heartbeat", daemon=True)
        self._thread = thread
        thread.start()

    @property
    def pulse(self) -> Pulse:
        """What the next heartbeat will hold, but for its nonce."""
        return self._pulse

    def beat_fast(self, fast: bool) -> None:
        """Beat twice a second while a neighbour needs to see soon that we are alive."""
        self._pause_s = min(self._beat_s, _FAST_S) if fast else self._beat_s
        self._wake.set()

    def progress(self) -> None:
        """Count progress."""
        self._pulse = replace(self._pulse, progress=self._pulse.progress + 1)

    def count(self, link: str, sent: int, received: int) -> None:
        """Set the message counts of a link; counts as progress."""
        links = {**self._pulse.links, link: (sent, received)}
        self._pulse = replace(self._pulse, progress=self._pulse.progress + 1, links=links)

    def wait_for(self, piece: str) -> None:
        """Set whose message is waited for, "" for nobody's."""
        self._pulse = replace(self._pulse, waits_for=piece)

    def set_state(self, state: str, now: bool = False) -> None:
        """Change the state; "running" after "blocked:…" and so on.

        Args:
            now: write it at once instead of with the next heartbeat.
        """
        state = "".join(c if c.isprintable() else " " for c in state)[:_LONGEST_STATE]
        self._pulse = replace(self._pulse, state=state)
        if now:
            self.beat()

    def beat(self) -> None:
        """Write one heartbeat; a failure is not raised: the next one may work."""
        with self._lock:
            self._beats += 1
            pulse = replace(self._pulse, nonce=f"{self._life}.{self._beats}")
            try:
                self._write(self._seal(pulse))
            except OSError as error:
                LOGGER.debug("heartbeat %s: %s", self._path, error)

    def close(self, state: str) -> None:
        """Write a last heartbeat with `state` and end the thread."""
        self._ending = True
        self._wake.set()
        # One that could not be started, or is just being, cannot be joined; it beats `state` then.
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self.set_state(state, now=True)

    def _seal(self, pulse: Pulse) -> bytes:
        while True:
            try:
                return pulse.seal(self._key)
            except ValueError:
                # Characters beyond ASCII take six bytes each: shorten the state.
                pulse = replace(pulse, state=pulse.state[: len(pulse.state) // 2])

    def _write(self, data: bytes) -> None:
        fd = self._fs.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            # One call: a reader sees the old heartbeat, the new one, or one with a wrong HMAC.
            self._fs.pwrite(fd, data, 0)
            if self._sync:
                self._fs.fsync(fd)
        finally:
            self._fs.close(fd)

    def _run(self) -> None:
        while not self._ending:
            try:
                self.beat()
            except Exception:
                LOGGER.exception("heartbeat %s", self._path)
            self._wake.wait(self._pause_s)
            self._wake.clear()
