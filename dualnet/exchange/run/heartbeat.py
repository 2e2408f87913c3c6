"""A half's sign of life, written every few seconds by a thread of its own.

The file is made once at its full size and rewritten in place, so a full disk cannot silence a half.
A torn read fails its HMAC and counts as "nothing new".
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import asdict, dataclass, replace

from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.paths import ExchangePaths
from dualnet.fs import Fs

__all__ = ["HEARTBEAT_BYTES", "Heartbeat", "Pulse", "read_pulse"]

LOGGER = logging.getLogger(__name__)

HEARTBEAT_BYTES = 1024
_LONGEST_STATE = 500
_HURRY_S = 0.5


@dataclass(frozen=True)
class Pulse:
    """One heartbeat.

    Attributes:
        run, role, epoch: whose.
        nonce: another one each time; that it changes proves life, whatever the clocks say.
        progress: grows whenever the half gets something done.
        state: "starting", "running", "blocked:<errno>", "done", "stopped" or "failed: <why>".
        seq, received: messages sent and received.
    """

    run: str
    role: str
    epoch: int
    nonce: str = ""
    progress: int = 0
    state: str = "starting"
    seq: int = 0
    received: int = 0

    @property
    def ended(self) -> bool:
        """Whether the half said itself that it is no longer there."""
        return self.state in ("done", "stopped") or self.state.startswith("failed")

    def seal(self, key: bytes) -> bytes:
        """The bytes of the file, always HEARTBEAT_BYTES long."""
        return seal(key, "heartbeat", asdict(self), HEARTBEAT_BYTES).ljust(HEARTBEAT_BYTES)

    @classmethod
    def unseal(cls, key: bytes, data: bytes) -> Pulse:
        """The heartbeat in a file's bytes.

        Raises:
            BadRecord: torn, or none of this run.
        """
        try:
            return cls(**unseal(key, "heartbeat", data, HEARTBEAT_BYTES))
        except TypeError as error:
            raise BadRecord(f"heartbeat record: {error}") from error


def read_pulse(
    fs: Fs, paths: ExchangePaths, key: bytes, run: str, role: str, epoch: int
) -> Pulse | None:
    """A half's last heartbeat, or None if there is none to be read now."""
    try:
        data = read_small(fs, paths.heartbeat(role, epoch), HEARTBEAT_BYTES)
        pulse = Pulse.unseal(key, data)
    except (OSError, Damaged, BadRecord):
        return None
    return pulse if (pulse.run, pulse.role, pulse.epoch) == (run, role, epoch) else None


class Heartbeat:
    """Writes one half's heartbeat; the file must exist.

    Args:
        fs: all I/O.
        path: the file.
        key: the run's secret.
        pulse: run, role and epoch.
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

    def hurry(self, hurry: bool) -> None:
        """Beat twice a second while the partner needs to see that we are alive."""
        self._pause_s = min(self._beat_s, _HURRY_S) if hurry else self._beat_s
        self._wake.set()

    def note(self, seq: int, received: int) -> None:
        """Say how far this half is; counts as progress."""
        progress = self._pulse.progress + 1
        self._pulse = replace(self._pulse, progress=progress, seq=seq, received=received)

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
        """Write one heartbeat; a failure is logged, not raised: the next one may work."""
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
                # Characters beyond ASCII take six bytes each; say less.
                half = pulse.state[: len(pulse.state) // 2]
                pulse = replace(pulse, state=half)

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
