"""Cases 23 to 32, 39 and 40: a disk that is full, forbidden, stale, slow or forgetful."""

from __future__ import annotations

import errno
import os
import random
import resource

import numpy as np
import pytest

from dualnet.errors import StorageFailed
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.publish import Publisher
from tests.exchange.cases.bench import Bench, assert_same, batch, case
from tests.exchange.fakes import ELSEWHERE, FaultyFs, VirtualFs
from tests.exchange.test_nfs import Clock, NfsClient
from tests.exchange.test_power_loss import Trainer, lose_power


def fails_for_a_while(bench: Bench, chance: random.Random, code: int) -> None:
    """An operation of a send fails, once or for a minute; then all is well."""
    fs = FaultyFs()
    net1, net2, _ = bench.pair(below=fs)
    net1.send(batch(0))
    assert_same(batch(0), net2.receive("train", 0))
    lasting = chance.random() < 0.5
    states: set[str] = set()
    began_s = fs.now_s

    def heal() -> None:
        states.add(net1.membership.heartbeat._pulse.state)
        if fs.now_s - began_s > 60.0:
            fs.disarm()

    fs.on_sleep = heal
    only = chance.choice(["write", "open", "rename", "close"]) if code != errno.EIO else "close"
    fs.arm(chance.randrange(2), code, persistent=lasting, only=only)
    net1.send(batch(1))
    failed = fs.failed
    fs.disarm()
    assert_same(batch(1), net2.receive("train", 1))
    assert failed > 0
    if lasting:
        assert f"blocked:{errno.errorcode[code]}" in states
        assert fs.now_s - began_s > 60.0
    assert net1.membership.heartbeat._pulse.state == "running"
    assert not list(bench.root.glob(".tmp*"))


@case(23, "ENOSPC, once or for a minute", "blocked:ENOSPC shown; goes on when there is room")
def full(bench: Bench, chance: random.Random) -> None:
    fails_for_a_while(bench, chance, errno.ENOSPC)


@case(23, "ENOSPC for good", "gives up after storage_timeout_s with exit code 74")
def full_for_good(bench: Bench, chance: random.Random) -> None:
    fs = FaultyFs()
    net1 = bench.open("net1", fs=fs)
    net2 = bench.open("net2")
    net1.send(batch(0))
    began_s = fs.now_s
    fs.arm(chance.randrange(4), errno.ENOSPC, persistent=True, only="write")
    with pytest.raises(StorageFailed, match="free space") as caught:
        net1.send(batch(1))
    fs.disarm()
    assert caught.value.exit_code == 74
    assert 200.0 < fs.now_s - began_s <= 300.0
    assert_same(batch(0), net2.receive("train", 0))
    assert net1.seq_sent == 1


@case(24, "EFBIG and EDQUOT, once or for a minute", "as ENOSPC")
def quota(bench: Bench, chance: random.Random) -> None:
    fails_for_a_while(bench, chance, chance.choice([errno.EFBIG, errno.EDQUOT]))


@case(25, "EACCES and EROFS, once or for a minute", "as ENOSPC, by name")
def forbidden(bench: Bench, chance: random.Random) -> None:
    fails_for_a_while(bench, chance, chance.choice([errno.EACCES, errno.EROFS]))


@case(26, "EIO from fsync or close", "a new file is written; no fsync is tried again")
def lost_pages(bench: Bench, chance: random.Random) -> None:
    class Failing(VirtualFs):
        armed = ""
        synced: dict[str, int] = {}

        def fsync(self, fd: int) -> None:
            name = os.readlink(f"/proc/self/fd/{fd}")
            if os.path.isfile(name) and not name.endswith("heartbeat"):
                self.synced[name] = self.synced.get(name, 0) + 1
                self.fail("fsync")

        def close(self, fd: int) -> None:
            writable = os.path.basename(os.readlink(f"/proc/self/fd/{fd}")).startswith(".tmp")
            super().close(fd)
            if writable:
                self.fail("close")

        def fail(self, what: str) -> None:
            if self.armed == what:
                self.armed = ""
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    fs = Failing()
    fs.synced = {}
    net1 = bench.open("net1", fs=fs, filesystem="nfs")
    net2 = bench.open("net2")
    net1.send(batch(0))
    fs.armed = chance.choice(["fsync", "close"])
    net1.send(batch(1))
    assert not fs.armed and net1.counters.storage_retries == 1
    assert set(fs.synced.values()) == {1}
    for iteration in range(2):
        assert_same(batch(iteration), net2.receive("train", iteration))


@case(27, "EINTR", "tried again")
def interrupted(bench: Bench, chance: random.Random) -> None:
    fs = FaultyFs()
    net1, net2, _ = bench.pair(below=fs)
    fs.arm(chance.randrange(12), errno.EINTR)
    net1.send(batch(0))
    assert fs.failed
    fs.disarm()
    assert_same(batch(0), net2.receive("train", 0))


@case(27, "no descriptor is left (EMFILE)", "says so; goes on when there is one")
def no_descriptors(bench: Bench, chance: random.Random) -> None:
    fs = VirtualFs()
    net1, net2, _ = bench.pair(below=fs)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    states = set()

    def heal() -> None:
        states.add(net1.membership.heartbeat._pulse.state)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    fs.on_sleep = heal
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        net1.send(batch(0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert states == {"blocked:EMFILE"}
    assert_same(batch(0), net2.receive("train", 0))


@case(28, "the directory is removed or renamed", "ends at once; never made again")
def vanished(bench: Bench, chance: random.Random) -> None:
    net1, net2, fs = bench.pair()
    net1.send(batch(0))
    fs.on_sleep = lambda: None
    began_s = fs.now_s
    bench.root.rename(bench.folder / "moved")
    end = chance.choice([net1, net2])
    with pytest.raises(StorageFailed, match="removed") as caught:
        end.send(batch(1)) if end is net1 else end.receive("train", 0)
    assert caught.value.exit_code == 74
    assert not bench.root.exists() and fs.now_s - began_s < 3.0
    (bench.folder / "moved").rename(bench.root)


@case(29, "NFS caches of 60 s", "a message comes late by the poll cap at most")
def nfs(bench: Bench, chance: random.Random) -> None:
    latency_s = nfs_latency_s(bench, chance.uniform(0.001, 50.0))
    assert latency_s <= 0.05, latency_s


def nfs_latency_s(bench: Bench, pause_s: float) -> float:
    """How late a message comes that another node sends `pause_s` after the one before.

    The worst of four. It is sent at its time, which lies anywhere in a sleep of the reader.
    """
    clock = Clock()
    fs1, fs2 = NfsClient(clock), NfsClient(clock)
    net2 = bench.open("net2", fs=fs2, process=ELSEWHERE, filesystem="nfs")
    net1 = bench.open("net1", fs=fs1, filesystem="nfs")
    due_s = clock.now_s + pause_s

    def net2_sends() -> None:
        net2.membership.heartbeat.beat()
        if clock.now_s >= due_s and net2.seq_sent == net1.seq_received:
            net2.send(batch(net2.seq_sent))

    fs1.on_sleep = net2_sends
    worst_s = 0.0
    for iteration in range(4):
        assert_same(batch(iteration), net1.receive("train", iteration))
        worst_s = max(worst_s, clock.now_s - due_s)
        due_s = clock.now_s + pause_s
    return worst_s


@case(30, "ESTALE at open, read or rename", "opened again, 8 times at most, and counted")
def stale(bench: Bench, chance: random.Random) -> None:
    class Stale(VirtualFs):
        left = 0
        name = ""

        def fail(self, name: str) -> None:
            if self.left and name == self.name:
                self.left -= 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        def open(self, path: str, flags: int, mode: int = 0o600) -> int:
            if path.endswith(".npy"):
                self.fail("open")
            return super().open(path, flags, mode)

        def readinto(self, fd: int, buffer: memoryview) -> int:
            self.fail("readinto")
            return super().readinto(fd, buffer)

        def rename(self, source: str, target: str) -> None:
            self.fail("rename")
            super().rename(source, target)

    fs = Stale()
    net1, net2, _ = bench.pair(above=fs)
    fs.name, times = chance.choice(["open", "readinto", "rename"]), chance.randrange(1, 9)
    fs.left = times
    slept = len(fs.slept_s)
    if fs.name == "rename":
        net2.send(batch(0))
        assert_same(batch(0), net1.receive("train", 0))
    else:
        net1.send(batch(0))
        assert_same(batch(0), net2.receive("train", 0))
    assert net2.counters.storage_retries == times and len(fs.slept_s) == slept


@case(31, "rename done but ENOENT said; link done but EEXIST said", "success is recognised")
def lost_reply(bench: Bench, chance: random.Random) -> None:
    class Losing(VirtualFs):
        losing = True

        def rename(self, source: str, target: str) -> None:
            super().rename(source, target)
            if self.losing:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    fs = Losing()
    net1, net2, _ = bench.pair(below=fs)
    assert net1.epoch == 1
    for iteration in range(chance.randrange(1, 4)):
        net1.send(batch(iteration))
        assert_same(batch(iteration), net2.receive("train", iteration))
    publisher = Publisher(fs, net1._paths, "net1", 1)
    assert publisher.create(str(bench.root / "once"), b"x")
    assert not Publisher(VirtualFs(), net1._paths, "net1", 1).create(str(bench.root / "once"), b"y")
    assert net1.counters.storage_retries == 0


@case(32, "the server answers nothing for 120 s", "survived; nobody is taken for dead")
def hanging_server(bench: Bench, chance: random.Random) -> None:
    class Hanging(VirtualFs):
        at = -1

        def fstat(self, fd: int) -> os.stat_result:
            self.at -= 1
            if self.at == 0:
                self.now_s += 120.0
            return super().fstat(fd)

    fs = Hanging()
    net2 = bench.open("net2", fs=fs)
    net1 = bench.open("net1", process=ELSEWHERE)
    beaten_s = [fs.now_s]

    def net1_lives() -> None:
        # While the server was stalled, no heartbeat got through.
        if fs.now_s - beaten_s[0] > 5.0:
            beaten_s[0] = fs.now_s
            net1.membership.heartbeat.beat()
        if fs.now_s > 1150.0 and net1.seq_sent == 0:
            net1.send(batch(0))

    fs.on_sleep = net1_lives
    fs.at = chance.randrange(5, 60)
    assert_same(batch(0), net2.receive("train", 0))
    assert fs.now_s > 1120.0


@case(39, "power failure: what was not synced is lost, torn or old", "trains on as if nothing was")
def power_failure(bench: Bench, chance: random.Random) -> None:
    numbers = np.random.RandomState(chance.randrange(2**31))
    net1, net2 = bench.open("net1"), bench.open("net2")
    trainer = Trainer()
    saved, place = trainer.copy(), (0, 0)
    records: dict = {}
    lose_at = chance.randrange(1, 12)
    while trainer.iteration < 12:
        if trainer.iteration % 4 == 0:
            saved, place = trainer.copy(), (net1.seq_sent, net1.seq_received)
            net1.checkpoint_passed(trainer.iteration)
            net2.checkpoint_passed(trainer.iteration)
        trainer.step(net1, net2)
        for end in (net1, net2):
            path = bench.root / os.path.basename(end._paths.status(end.piece, end.epoch))
            records.setdefault(path, []).append(path.read_bytes())
        if trainer.iteration == lose_at:
            lose_at = -1
            for end in (net1, net2):
                end.membership.close("stopped")
            lose_power(bench.root, records, numbers)
            records = {}
            trainer = saved.copy()
            net1, net2 = bench.open("net1"), bench.open("net2")
            net1.resume(*place)
            net2.resume(*place)
    assert (trainer.lower, trainer.upper) == _UNDISTURBED


def _undisturbed() -> tuple:
    """The training of case 39 without any exchange."""
    lower, upper = np.float64(1.0), np.float64(2.0)
    for number in range(12):
        upper = np.cos(upper + np.full(50, np.sin(lower * (number + 1)))[7])
        lower = lower + upper / 3
    return lower, upper


_UNDISTURBED = _undisturbed()


@case(40, "any operation of a send or a receive fails, once or for good", "never wrong data")
def any_operation(bench: Bench, chance: random.Random) -> None:
    fs = FaultyFs()
    sending = chance.random() < 0.5
    net1, net2, _ = bench.pair(**{"below" if sending else "above": fs})
    net1.send(batch(0))
    assert_same(batch(0), net2.receive("train", 0))
    fs.now_s += 10.0  # so that each checks for a successor, and its neighbour, too
    code = chance.choice([errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES, errno.EDQUOT])
    lasting = chance.random() < 0.5
    fs.arm(chance.randrange(35 if sending else 16), code, persistent=lasting)
    given_up = None
    received: Message | None = None
    try:
        net1.send(batch(1))
        received = net2.receive("train", 1)
    except StorageFailed as error:
        given_up = error
    assert given_up is None or (lasting and given_up.exit_code == 74)
    fs.disarm()
    if received is not None:
        assert_same(batch(1), received)
