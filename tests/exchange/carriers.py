"""Two pieces of one run in this process, on any carrier, in real time: for the tests of all."""

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
from dualnet.exchange.link import Link
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.membership import Membership
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


LINK = Link("net1", "net2")


class Play:
    """Opens pieces of one run and closes in the end what a test leaves open.

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
        self._joined: list[Membership] = []

    def open(
        self,
        piece: str,
        identity: dict[str, Any] | None = None,
        process: ProcessId | None = None,
        **settings: Any,
    ) -> Any:
        """A piece; `process` is its identity."""
        made = ExchangeSettings(**{**QUICK, "lock_dir": self._locks, **settings})
        carrier = self._carrier()
        membership = self.join(piece, made, identity, process)
        try:
            end = carrier(membership, LINK, made)
        except BaseException as error:
            membership.close(f"failed: {error}")
            raise
        self._opened.append(end)
        self._connect()
        return end

    def join(
        self,
        piece: str,
        settings: ExchangeSettings,
        identity: dict[str, Any] | None = None,
        process: ProcessId | None = None,
    ) -> Membership:
        """A membership that is closed in the end."""
        identity = identity or {"config": "c"}
        made = Membership(piece, str(self.run_dir), settings, identity, process=process)
        self._joined.append(made)
        return made

    def _connect(self) -> None:
        """Wait until both ends are connected, where they connect at all."""
        deadline_s = time.monotonic() + 20
        while self.carrier != "files" and len({end.piece for end in self._opened}) == 2:
            live = [end for end in self._opened if not end.membership._closed]
            if len(live) < 2 or all(end._remote.is_connected for end in live):
                return
            if any(end._wire.fatal for end in live):
                return
            assert time.monotonic() < deadline_s, [end._connector.trouble for end in live]
            time.sleep(0.005)

    def _carrier(self) -> Any:
        if self.carrier == "torch":
            return pytest.importorskip("dualnet.exchange.distributed").DistributedChannel
        return {"files": FileChannel, "tcp": TcpChannel}[self.carrier]

    def pair(self, **settings: Any) -> tuple[Any, Any]:
        """net1 and net2."""
        return self.open("net1", **settings), self.open("net2", **settings)

    def kill(self, end: Any) -> None:
        """End a piece as SIGKILL would: no final heartbeat, its locks and connections gone."""
        self._opened.remove(end)
        membership = end.membership
        self._joined.remove(membership)
        membership.heartbeat._ending = True
        membership.heartbeat._wake.set()
        if self.carrier != "files":
            end._connector.close()
            end._wire._leave_at_s = 0.0
            sender = end._wire._sender
            sender.stop(20)
            if sender.flow is not None:
                sender.flow.connection.close()
            end._connector._thread.join(5)
        membership.heartbeat._thread.join()
        os.close(membership._lock._fd)
        membership._lock._fd = None

    def end(self) -> None:
        """Close what is open."""
        for membership in self._joined:
            membership.close("stopped")


@contextmanager
def playing(carrier: str, folder: Path) -> Iterator[Play]:
    """A run whose pieces are closed in the end."""
    made = Play(carrier, folder)
    try:
        yield made
    finally:
        made.end()
