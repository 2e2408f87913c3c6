"""Two halves of one run in this process, on any carrier, in real time: for the tests of all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dualnet.exchange.channel import Channel
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp import TcpChannel

#: Waits that a test can afford.
QUICK: dict[str, Any] = {
    "hash_threads": 0,
    "partner_timeout_s": 20.0,
    "dead_after_s": 20.0,
    "resend_timeout_s": 20.0,
    "damage_retry_s": 0.2,
    "heartbeat_s": 0.2,
}


class Stage:
    """Opens halves of one run and closes in the end what a test leaves open.

    Args:
        carrier: what carries the bytes.
        folder: of the test.
    """

    def __init__(self, carrier: str, folder: Path) -> None:
        self.carrier = carrier
        self.run_dir = folder / 'a run\'s "dir" 100%'
        self.run_dir.mkdir()
        self._locks = str(folder / "locks")
        self._opened: list[Channel] = []

    def open(
        self,
        role: str,
        identity: dict[str, Any] | None = None,
        process: ProcessId | None = None,
        **settings: Any,
    ) -> Any:
        """A half; `process` is who it says it is."""
        made = ExchangeSettings(**{**QUICK, "lock_dir": self._locks, **settings})
        kind = self._kind()
        half = kind(role, str(self.run_dir), made, identity or {"config": "c"}, process=process)
        self._opened.append(half)
        self._connect()
        return half

    def _connect(self) -> None:
        """Wait until both halves hear each other, where they connect at all."""
        deadline_s = time.monotonic() + 20
        while self.carrier != "files" and len({half.role for half in self._opened}) == 2:
            live = [half for half in self._opened if not half._closed]
            if len(live) < 2 or all(half._remote.is_connected for half in live):
                return
            if any(half._wire.fatal for half in live):
                return
            assert time.monotonic() < deadline_s, [half._link.trouble for half in live]
            time.sleep(0.005)

    def _kind(self) -> Any:
        if self.carrier == "torch":
            return pytest.importorskip("dualnet.exchange.distributed").DistributedChannel
        return {"files": FileChannel, "tcp": TcpChannel}[self.carrier]

    def pair(self, **settings: Any) -> tuple[Any, Any]:
        """net1 and net2."""
        return self.open("net1", **settings), self.open("net2", **settings)

    def kill(self, half: Any) -> None:
        """End a half as SIGKILL would: no last words, its locks and connections gone."""
        self._opened.remove(half)
        half._heartbeat._ending = True
        half._heartbeat._wake.set()
        if self.carrier != "files":
            half._link.close()
            half._wire._leave_at_s = 0.0
            sender = half._wire._sender
            sender.stop(20)
            if sender.flow is not None:
                sender.flow.connection.close()
            half._link._thread.join(5)
        half._heartbeat._thread.join()
        os.close(half._lock._fd)
        half._lock._fd = None

    def end(self) -> None:
        """Close what is open."""
        for half in self._opened:
            half.close("stopped")


@contextmanager
def stage(carrier: str, folder: Path) -> Iterator[Stage]:
    """A stage that is cleared in the end."""
    made = Stage(carrier, folder)
    try:
        yield made
    finally:
        made.end()
