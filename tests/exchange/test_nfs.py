"""The exchange on a model of NFS: each client has caches that hide the other's work for a minute.

The model follows nfs(5) and the Linux client: names that do not exist are remembered until the
directory is opened (close-to-open) or a minute has passed; attributes asked by name are remembered
as long; opening a file that exists asks the server.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from dualnet.errors import Superseded
from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import ELSEWHERE, VirtualFs

CACHED_S = 60.0


class Clock:
    """The time that both clients share."""

    def __init__(self) -> None:
        self.now_s = 1000.0


class NfsClient(VirtualFs):
    """One node's view of the shared directory.

    Attributes:
        hidden: how often the cache denied a file that was there.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._missing: dict[str, float] = {}
        self._status: dict[str, tuple[float, os.stat_result]] = {}
        self.hidden = 0
        now_s = clock.now_s
        super().__init__()
        clock.now_s = now_s

    @property
    def now_s(self) -> float:  # type: ignore[override]
        return self._clock.now_s

    @now_s.setter
    def now_s(self, value: float) -> None:
        self._clock.now_s = value

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECTORY:
            fd = super().open(path, flags, mode)
            self._forget_directory(path)
            return fd
        if flags & os.O_CREAT:
            self._forget(path)
        else:
            self._check_missing(path)
        try:
            return super().open(path, flags, mode)
        except FileNotFoundError:
            self._missing[path] = self.now_s
            raise

    def lstat(self, path: str) -> os.stat_result:
        self._check_missing(path)
        cached_s, status = self._status.get(path, (-CACHED_S, None))
        if status is not None and self.now_s - cached_s < CACHED_S:
            return status
        try:
            status = super().lstat(path)
        except FileNotFoundError:
            self._missing[path] = self.now_s
            raise
        self._status[path] = (self.now_s, status)
        return status

    def listdir(self, path: str) -> list[str]:
        self._forget_directory(path)
        return super().listdir(path)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._forget(source)
        self._forget(target)

    def link(self, source: str, target: str) -> None:
        super().link(source, target)
        self._forget(target)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._forget(path)

    def _check_missing(self, path: str) -> None:
        noted_s = self._missing.get(path)
        if noted_s is not None and self.now_s - noted_s < CACHED_S:
            self.hidden += os.path.exists(path)
            raise FileNotFoundError(2, "No such file or directory (cached)", path)

    def _forget(self, path: str) -> None:
        self._missing.pop(path, None)
        self._status.pop(path, None)

    def _forget_directory(self, root: str) -> None:
        for path in list(self._missing):
            if os.path.dirname(path) == root:
                del self._missing[path]


def message(iteration: int) -> Message:
    return Message("train", iteration, {"x": np.full(3, iteration, np.float32)})


class NoctoClient(NfsClient):
    """A mount without close-to-open: opening the directory asks nobody. We refuse such mounts."""

    def _forget_directory(self, root: str) -> None:
        pass


def first_message_latency_s(open_end: OpenEnd, client: NfsClient, clock: Clock) -> float:
    """net1 waits for net2, which starts 30 s later on another node; how late is its message?"""
    net1 = open_end("net1", fs=client, filesystem="nfs")
    sent_s: list[float] = []

    def start_net2() -> None:
        if clock.now_s > 1030.0 and not sent_s:
            net2 = open_end("net2", fs=NfsClient(clock), process=ELSEWHERE, filesystem="nfs")
            net2.send(message(0))
            sent_s.append(clock.now_s)

    client.on_sleep = start_net2
    np.testing.assert_array_equal(net1.receive("train", 0).arrays["x"], np.zeros(3))
    return clock.now_s - sent_s[0]


def test_a_start_elsewhere_is_seen_within_a_probe_and_a_poll(open_end: OpenEnd) -> None:
    clock = Clock()
    assert first_message_latency_s(open_end, NfsClient(clock), clock) <= 1.0 + 2 * 0.05


def test_without_close_to_open_it_is_hidden_for_long(open_end: OpenEnd) -> None:
    """The model bites: the test above proves something."""
    clock = Clock()
    client = NoctoClient(clock)
    assert first_message_latency_s(open_end, client, clock) > 20.0
    assert client.hidden > 0


@pytest.mark.parametrize("pause_s", [0.001, 0.3, 45.0])
def test_messages_are_seen_within_a_poll(open_end: OpenEnd, pause_s: float) -> None:
    clock = Clock()
    clients = {piece: NfsClient(clock) for piece in ("net1", "net2")}
    net2 = open_end("net2", fs=clients["net2"], process=ELSEWHERE, filesystem="nfs")
    net1 = open_end("net1", fs=clients["net1"], filesystem="nfs")
    due_s = [clock.now_s]

    def net2_sends() -> None:
        net2.membership.heartbeat.beat()
        if clock.now_s - due_s[-1] >= pause_s and net2.seq_sent < len(due_s):
            net2.send(message(net2.seq_sent))
            due_s[-1] = clock.now_s

    clients["net1"].on_sleep = net2_sends
    for iteration in range(8):
        net1.receive("train", iteration)
        assert clock.now_s - due_s[-1] <= 0.05
        due_s.append(clock.now_s)
    assert net1.counters.damaged_reads == 0


def test_a_successor_elsewhere_is_noticed_within_a_second(open_end: OpenEnd) -> None:
    clock = Clock()
    client = NfsClient(clock)
    zombie = open_end("net1", fs=client, filesystem="nfs", process=ELSEWHERE)
    zombie.send(message(0))
    client.now_s += 2.0
    zombie.send(message(1))  # has checked for a successor, and found none
    zombie.membership._lock.release()
    zombie.membership.heartbeat.close("stopped")
    successor: FileChannel = open_end("net1", fs=NfsClient(clock), filesystem="nfs")
    assert successor.epoch == 2
    client.now_s += 1.0
    with pytest.raises(Superseded):
        zombie.send(message(2))
