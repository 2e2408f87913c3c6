"""Cases 8 to 15 and 35: what may become of a message on its way."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import DeterminismViolated
from dualnet.exchange.files.npy import HEADER_BYTES, TRAILER_BYTES
from dualnet.fs import Buffer
from tests.exchange.cases.bench import Bench, assert_same, batch, case
from tests.exchange.fakes import VirtualFs

Damage = Callable[[Path], None]


def is_resent(bench: Bench, chance: random.Random, damage: Damage) -> None:
    """Damage one file of a message; the receiver must notice, ask, and get the right bytes."""
    net1, net2, _ = bench.pair()
    message = batch(0, chance)
    net1.send(message)
    damage(bench.files(chance.choice(["pool2", "label"]))[0])
    assert_same(message, net2.receive("train", 0))
    assert (net1.counters.resends, net2.counters.damaged_reads > 0) == (1, True)
    net1.send(batch(1, chance))
    net2.receive("train", 1)
    assert net1.counters.resends == 1


@case(8, "file truncated at 0, 1, 127, 128, half, all but 1", "never used; resent")
def truncated(bench: Bench, chance: random.Random) -> None:
    def damage(path: Path) -> None:
        size = path.stat().st_size
        os.truncate(path, chance.choice([0, 1, 127, 128, size // 2, size - 1]))

    is_resent(bench, chance, damage)


def flip(path: Path, chance: random.Random, first: int, last: int) -> None:
    """Flip one bit of a byte in first … last - 1."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(first, last)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


@case(9, "one bit of the header flipped", "noticed; resent")
def flipped_header(bench: Bench, chance: random.Random) -> None:
    is_resent(bench, chance, lambda path: flip(path, chance, 0, HEADER_BYTES))


@case(9, "one bit of the data flipped", "noticed; resent")
def flipped_data(bench: Bench, chance: random.Random) -> None:
    def damage(path: Path) -> None:
        flip(path, chance, HEADER_BYTES, path.stat().st_size - TRAILER_BYTES)

    is_resent(bench, chance, damage)


@case(9, "one bit of the trailer flipped", "noticed; resent")
def flipped_trailer(bench: Bench, chance: random.Random) -> None:
    def damage(path: Path) -> None:
        size = path.stat().st_size
        flip(path, chance, size - TRAILER_BYTES, size)

    is_resent(bench, chance, damage)


@case(9, "one bit of the status record flipped", "not believed; the next one is")
def flipped_record(bench: Bench, chance: random.Random) -> None:
    net1, net2, clock = bench.pair()
    net1.send(batch(0))
    path = Path(net1._paths.status("net1", 1))
    good = path.read_bytes()
    flip(path, chance, 0, len(good))
    net2._neighbour.poll()
    assert net2._neighbour.locate(1) is None
    clock.on_sleep = lambda: path.write_bytes(good) and None
    assert_same(batch(0), net2.receive("train", 0))


@case(9, "one bit of a layout flipped", "not believed; right again, it is")
def flipped_layout(bench: Bench, chance: random.Random) -> None:
    net1, net2, clock = bench.pair()
    net1.send(batch(0))
    path = Path(net1._paths.layout("net1", 1, 1))
    good = path.read_bytes()
    flip(path, chance, 0, len(good))
    clock.on_sleep = lambda: path.write_bytes(good) and None
    assert_same(batch(0), net2.receive("train", 0))
    assert net2.counters.damaged_reads > 0


@case(10, "write() takes less than it says", "noticed; resent")
def lying_write(bench: Bench, chance: random.Random) -> None:
    class Lying(VirtualFs):
        lies = 1

        def write(self, fd: int, data: Buffer) -> int:
            if self.lies and len(data) > 4096:
                self.lies -= 1
                super().write(fd, memoryview(data)[: chance.randrange(len(data))])
                return len(data)
            return super().write(fd, data)

    net1, net2, _ = bench.pair(below=Lying())
    net1.send(batch(0))
    assert_same(batch(0), net2.receive("train", 0))
    assert net1.counters.resends == 1


@case(11, "a valid file of another iteration, piece or run", "refused; resent")
def foreign_file(bench: Bench, chance: random.Random) -> None:
    net1, net2, _ = bench.pair()
    net1.send(batch(0))
    net1.send(batch(1))
    net2.send(batch(0))
    other = Bench(bench.folder / "other")
    other.open("net1").send(batch(0))
    target = bench.files("pool2", 1)
    target = [path for path in target if path.name.startswith("net1")]
    source = chance.choice(
        [
            next(p for p in bench.files("pool2", 0) if p.name.startswith("net1")),
            next(p for p in bench.files("pool2", 0) if p.name.startswith("net2")),
            other.files("pool2")[0],
        ]
    )
    target[0].write_bytes(source.read_bytes())
    other.close()
    assert_same(batch(0), net2.receive("train", 0))
    assert_same(batch(1), net2.receive("train", 1))
    assert net1.counters.resends == 1


@case(12, "the record is visible before the data", "waits")
def late_data(bench: Bench, chance: random.Random) -> None:
    net1, net2, clock = bench.pair()
    net1.send(batch(0))
    path = chance.choice(bench.files())
    hidden = path.with_name("hidden")
    path.rename(hidden)
    due_s = clock.now_s + chance.uniform(0.0, 4.5)

    def appear() -> None:
        if clock.now_s >= due_s and hidden.exists():
            hidden.rename(path)

    clock.on_sleep = appear
    assert_same(batch(0), net2.receive("train", 0))
    assert net1.counters.resends == 0


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


@case(13, "a pickle in place of a file, a record or a layout", "never unpickled; resent")
def pickled(bench: Bench, chance: random.Random) -> None:
    net1, net2, clock = bench.pair()
    net1.send(batch(0))
    canary = bench.folder / "canary"
    paths = [
        bench.files("pool2")[0],
        Path(net1._paths.status("net1", 1)),
        Path(net1._paths.layout("net1", 1, 1)),
        Path(net1.membership.paths.heartbeat("net1", 1)),
    ]
    path = chance.choice(paths)
    good = path.read_bytes()
    path.write_bytes(pickle.dumps(Canary(str(canary))).ljust(len(good), b"\0"))
    if path != paths[0]:
        clock.on_sleep = lambda: path.write_bytes(good) and None
    assert_same(batch(0), net2.receive("train", 0))
    assert not canary.exists()


@case(14, "a header of another dtype or a huge shape, or bytes appended", "refused; resent")
def another_header(bench: Bench, chance: random.Random) -> None:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        header = content[:HEADER_BYTES]
        kind = chance.randrange(3)
        if kind == 0:
            content = header.replace(b"<f4", b">f4") + content[HEADER_BYTES:]
        elif kind == 1:
            head, _, tail = header.partition(b"'shape': (")
            huge = head + b"'shape': (99999999999, " + tail.partition(b", ")[2]
            content = huge[:HEADER_BYTES].ljust(HEADER_BYTES) + content[HEADER_BYTES:]
        else:
            content += bytes(chance.randrange(1, 5000))
        path.write_bytes(content)

    is_resent(bench, chance, damage)


@case(15, "a symbolic link, FIFO, folder or another user's file", "refused without blocking")
def no_regular_file(bench: Bench, chance: random.Random) -> None:
    def damage(path: Path) -> None:
        kinds = [_to_link, _to_fifo, _to_folder]
        if os.geteuid() == 0:  # only root can give files away
            kinds.append(lambda path: os.chown(path, 12345, -1))
        chance.choice(kinds)(path)

    is_resent(bench, chance, damage)


def _to_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@case(35, "a replay that differs in one bit", "stops with exit code 76")
def other_replay(bench: Bench, chance: random.Random) -> None:
    net1 = bench.open("net1")
    for iteration in range(3):
        net1.send(batch(iteration))
    net1.membership.close("failed: killed")
    again = bench.open("net1")
    again.resume(0, 0)
    changed = chance.randrange(3)
    for iteration in range(changed):
        again.send(batch(iteration))
    assert again.counters.replays_verified == changed
    pool2 = batch(changed).arrays["pool2"].copy()
    bits = pool2.reshape(-1).view(np.uint32)
    bits[chance.randrange(len(bits))] ^= np.uint32(1 << chance.randrange(32))
    wrong = replace(batch(changed), arrays={**batch(changed).arrays, "pool2": pool2})
    with pytest.raises(DeterminismViolated) as caught:
        again.send(wrong)
    assert caught.value.exit_code == 76
