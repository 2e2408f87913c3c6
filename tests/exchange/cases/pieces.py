"""Cases 6, 16 to 22, 33 and 34: who is who, who is gone, and what time it is."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dualnet.errors import (
    DualnetError,
    ManifestMismatch,
    NeighbourDied,
    NeighbourHung,
    NeighbourNeverCame,
    Superseded,
)
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import Lease
from dualnet.exchange.run.manifest import join_run
from dualnet.fs import Fs
from tests.exchange.cases.bench import Bench, assert_same, batch, case
from tests.exchange.fakes import ELSEWHERE, VirtualFs

US = ProcessId.current()


@case(6, "a piece is suspended past the lease, is replaced, and resumes", "exit code 75; 0 used")
def zombie(bench: Bench, chance: random.Random) -> None:
    fs = VirtualFs()
    old = bench.open("net1", fs=fs, process=ELSEWHERE)
    net2 = bench.open("net2")
    before = chance.randrange(4)
    for iteration in range(before):
        old.send(batch(iteration))
    # It is suspended, its heartbeat unchanged; another node takes over from the start.
    new = bench.open("net1", locks="another node")
    new.resume(0, 0)
    for iteration in range(before + 1):
        new.send(batch(iteration))
    # It resumes, perhaps in the middle of a message, when it has checked for a successor already.
    fs.now_s += chance.choice([0.0, 61.0])
    strange = replace(batch(before), arrays={"pool2": batch(99).arrays["pool2"]})
    try:
        old.send(strange)
        fs.now_s += 1.0
        with pytest.raises(Superseded):
            old.send(strange)
    except Superseded as error:
        assert error.exit_code == 75
    for iteration in range(before + 1):
        assert_same(batch(iteration), net2.receive("train", iteration))


@case(16, "a directory that another run has left", "refused, nothing changed")
def leftover_directory(bench: Bench, chance: random.Random) -> None:
    first = bench.open("net1", identity={"config": "another"})
    first.send(batch(0))
    first.membership.close(chance.choice(["stopped", "failed: killed"]))
    before = {path.name: path.read_bytes() for path in bench.root.iterdir()}
    fs = VirtualFs()
    with pytest.raises(ManifestMismatch):
        bench.open(chance.choice(["net1", "net2"]), fs=fs)
    assert before == {path.name: path.read_bytes() for path in bench.root.iterdir()}
    assert not fs.slept_s


@case(17, "files of an older epoch and half-written ones", "passed over; one's own are removed")
def older_epoch(bench: Bench, chance: random.Random) -> None:
    first = bench.open("net1")
    kept = chance.randrange(1, 4)
    for iteration in range(kept):
        first.send(batch(iteration))
    first.membership.close("failed: killed")
    leftovers = [f".tmp.net1.e{epoch:06d}.{chance.randrange(9999)}.ab" for epoch in (1, 2)]
    foreign = ".tmp.net2.e000001.12.ab"
    for name in (*leftovers, foreign):
        (bench.root / name).write_bytes(b"x" * 50)
    again = bench.open("net1")
    assert [path.name for path in bench.exchange.rglob(".tmp*")] == [foreign]
    net2 = bench.open("net2")
    assert not list(bench.exchange.rglob(".tmp*"))
    again.resume(0, 0)
    for iteration in range(kept):
        again.send(batch(iteration))
        assert_same(batch(iteration), net2.receive("train", iteration))


@case(18, "another configuration, version or shape", "refused at once, nothing written")
def another_manifest(bench: Bench, chance: random.Random) -> None:
    identity = {"config": "c0ffee", "shape": [2, 4], "version": 1}
    bench.open("net1", identity=identity)
    changed = chance.choice([{"config": "cafe"}, {"shape": [2, 5]}, {"version": 2}])
    before = sorted(path.name for path in bench.root.iterdir())
    fs = VirtualFs()
    with pytest.raises(ManifestMismatch) as caught:
        bench.open("net2", fs=fs, identity={**identity, **changed})
    assert caught.value.exit_code == 2 and not fs.slept_s
    assert before == sorted(path.name for path in bench.root.iterdir())


@case(19, "a second copy on the same node", "refused at once; the first goes on")
def second_copy_here(bench: Bench, chance: random.Random) -> None:
    piece = chance.choice(["net1", "net2"])
    first, fs = bench.open(piece), VirtualFs()
    with pytest.raises(Superseded) as caught:
        bench.open(piece, fs=fs)
    assert caught.value.exit_code == 75 and not fs.slept_s
    first.send(batch(0))


@case(20, "a second copy on another node", "refused after one heartbeat; the first goes on")
def second_copy_elsewhere(bench: Bench, chance: random.Random) -> None:
    first = bench.open("net1", process=ELSEWHERE)
    fs, beats = VirtualFs(), []
    due_s = fs.now_s + chance.uniform(0.1, 5.0)

    def beat() -> None:
        if fs.now_s >= due_s + 5.0 * len(beats):
            beats.append(fs.now_s)
            first.membership.heartbeat.beat()

    fs.on_sleep = beat
    with pytest.raises(Superseded):
        bench.open("net1", fs=fs, locks="another node")
    assert len(beats) == 1 and fs.now_s - beats[0] < 2.0
    first.send(batch(0))
    assert first.epoch == 1


@case(21, "8 copies at once, on 8 nodes", "exactly one wins")
def eight_at_once(bench: Bench, chance: random.Random) -> None:
    paths = RunPaths.of_run(str(bench.run_dir))
    manifest = join_run(Fs(), paths, "net1", {})
    barrier = threading.Barrier(8)

    def start(number: int) -> Lease | None:
        process = replace(US, boot_id=f"boot {number}", pid=number)
        barrier.wait()
        try:
            return Lease.take(Quick(), paths, manifest, "net1", process, 0.2)
        except Superseded:
            return None

    class Quick(Fs):
        """The winner beats whenever somebody waits for it."""

        def sleep(self, duration_s: float) -> None:
            beat()

    def beat() -> None:
        pulse = Pulse(manifest.run_id.hex(), "net1", 1, state="running")
        path = paths.heartbeat("net1", 1)
        Heartbeat(Fs(), path, manifest.key, pulse, 5.0, sync=False).beat()

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(start, range(8)) if lease is not None]
    assert [lease.epoch for lease in won] == [1]
    assert len(list(bench.exchange.glob("net1.gen.*"))) == 1
    assert not list(bench.exchange.rglob(".tmp*"))


@case(22, "a process number used again; an empty or garbage generation file", "start time; closed")
def reused_number(bench: Bench, chance: random.Random) -> None:
    kind = chance.randrange(3)
    if kind == 0:
        # A process with that number lives, but it began at another time: the piece is gone.
        bench.open("net1", process=replace(US, start="1"))
        fs = VirtualFs()
        assert bench.open("net1", fs=fs, locks="again").epoch == 2
        assert not fs.slept_s
        return
    first = bench.open("net1", process=ELSEWHERE)
    path = bench.exchange / "net1.gen.000001"
    path.write_bytes(b"" if kind == 1 else bytes(chance.randrange(256) for _ in range(300)))
    fs = VirtualFs()
    fs.on_sleep = first.membership.heartbeat.beat
    # Nobody can tell who holds the piece: while its heart beats, it is taken.
    with pytest.raises(Superseded):
        bench.open("net1", fs=fs, locks="another node")


@case(33, "the neighbour never starts, dies, fails, is slow, hangs", "four codes, four messages")
def absent_partner(bench: Bench, chance: random.Random) -> None:
    kind = chance.choice(["never", "dead", "silent", "failed", "slow", "hung"])
    fs = VirtualFs()
    net2 = bench.open("net2", fs=fs, poll_cap_s=0.5)
    net1: FileChannel | None = None
    if kind == "dead":
        net1 = bench.open("net1", process=replace(US, start="1"))
    elif kind != "never":
        net1 = bench.open("net1", process=ELSEWHERE)
    if kind == "failed" and net1 is not None:
        net1.membership.close("failed: MemoryError")
    moves: dict[str, Callable[[], None]] = {
        "hung": lambda: net1.membership.heartbeat.beat() if net1 is not None else None,
        "slow": lambda: _slowly(net1, fs),
    }
    fs.on_sleep = moves.get(kind, lambda: None)
    began_s = fs.now_s
    if kind == "slow":
        assert_same(batch(0), net2.receive("train", 0))
        assert fs.now_s - began_s > 4000.0
        return
    kinds: dict[str, tuple[type[DualnetError], int, str, float]] = {
        "never": (NeighbourNeverCame, 70, "did not start", 600.0),
        "dead": (NeighbourDied, 71, "no longer exists", 0.5),
        "silent": (NeighbourDied, 71, "has been unchanged", 60.0),
        "failed": (NeighbourDied, 71, "MemoryError", 0.5),
        "hung": (NeighbourHung, 72, "no progress", 1800.0),
    }
    error, code, words, after_s = kinds[kind]
    with pytest.raises(error, match=words) as caught:
        net2.receive("train", 0)
    assert caught.value.exit_code == code
    assert after_s <= fs.now_s - began_s <= after_s + 5.0


def _slowly(net1: FileChannel | None, fs: VirtualFs) -> None:
    """Ten times slower than the limit of a hang allows in one piece, but moving."""
    assert net1 is not None
    net1.membership.heartbeat.beat()
    if int(fs.now_s) % 400 == 0:
        net1.membership.progress()
    if fs.now_s > 5100.0 and net1.seq_sent == 0:
        net1.send(batch(0))


@case(34, "wall clocks an hour apart that jump", "no effect")
def wall_clocks(bench: Bench, chance: random.Random) -> None:
    class Drunken(VirtualFs):
        def wall_time(self) -> float:
            return 1e9 + chance.uniform(-3600.0, 3600.0)

    fs = Drunken()
    net1 = bench.open("net1", fs=Drunken(), process=ELSEWHERE)
    net2 = bench.open("net2", fs=fs, hang_timeout_s=100.0, poll_cap_s=0.5)
    for iteration in range(3):
        net1.send(batch(iteration))
        assert_same(batch(iteration), net2.receive("train", iteration))
    fs.on_sleep = net1.membership.heartbeat.beat
    began_s = fs.now_s
    with pytest.raises(NeighbourHung):
        net2.receive("train", 3)
    assert 100.0 <= fs.now_s - began_s <= 105.0
