"""What the cases share: pieces in one process on a virtual clock, and the table of cases."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.link import Link
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs
from tests.exchange.fakes import VirtualFs

__all__ = ["CASES", "LINK", "Bench", "Case", "assert_same", "batch", "case"]

LINK = Link("net1", "net2")

Run = Callable[["Bench", random.Random], None]


@dataclass(frozen=True)
class Case:
    """One kind of fault.

    Attributes:
        number: in the specification's list.
        title: the fault.
        expected: what has to come of it.
        run: injects it once, in a fresh run directory, and raises AssertionError if anything else
            comes of it.
    """

    number: int
    title: str
    expected: str
    run: Run

    def inject(self, folder: Path, seed: int, times: int) -> None:
        """Inject the fault so often, with other random numbers each time.

        Args:
            folder: an existing folder, left empty.
        """
        for time in range(times):
            bench = Bench(folder / f"case{self.number}-{time}")
            try:
                self.run(bench, random.Random(f"{seed}/{self.number}/{time}"))
            finally:
                bench.close()


#: Several may share a number.
CASES: list[Case] = []


def case(number: int, title: str, expected: str) -> Callable[[Run], Run]:
    """Put a function into the table."""

    def register(run: Run) -> Run:
        CASES.append(Case(number, title, expected, run))
        return run

    return register


class Bench:
    """A run directory and the pieces that were opened on it.

    Args:
        folder: made, and removed by `close`.
    """

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / 'a run\'s "dir" 100%'
        self.run_dir.mkdir(parents=True)
        self.folder = folder
        self._opened: list[Membership] = []

    @property
    def exchange(self) -> Path:
        """The exchange directory."""
        return self.run_dir / "exchange"

    @property
    def root(self) -> Path:
        """The link's folder."""
        return self.exchange / LINK.name

    def open(
        self,
        piece: str,
        fs: Fs | None = None,
        process: ProcessId | None = None,
        identity: dict[str, Any] | None = None,
        locks: str = "locks",
        **settings: Any,
    ) -> FileChannel:
        """Open a piece on a clock of its own.

        Args:
            locks: the node; pieces with other locks run on other nodes.
        """
        made = ExchangeSettings(
            **{"lock_dir": str(self.folder / locks), "hash_threads": 0, **settings}
        )
        identity = identity or {"config": "c0ffee"}
        membership = Membership(
            piece, str(self.run_dir), made, identity, fs or VirtualFs(), process, beat=False
        )
        self._opened.append(membership)
        try:
            return FileChannel(membership, LINK, made)
        except BaseException as error:
            membership.close(f"failed: {error}")
            raise

    def pair(
        self, below: VirtualFs | None = None, above: VirtualFs | None = None
    ) -> tuple[FileChannel, FileChannel, VirtualFs]:
        """net1, and net2 that waits on a clock during which net1 does its part.

        Args:
            below, above: all I/O of net1 and of net2.

        Returns:
            net1, net2, and net2's I/O with its clock.
        """
        lower, clock = below or VirtualFs(), above or VirtualFs()
        net1, net2 = self.open("net1", fs=lower), self.open("net2", fs=clock)

        def net1_moves() -> None:
            lower.now_s = max(lower.now_s, clock.now_s)
            net1.membership.heartbeat.beat()
            net1.membership.progress()

        clock.on_sleep = net1_moves
        return net1, net2, clock

    def files(self, array: str = "", iteration: int = -1) -> list[Path]:
        """Data files of one array, or of all."""
        which = "" if iteration < 0 else f"i{iteration:012d}"
        return sorted(p for p in self.root.glob("*.npy") if array in p.name and which in p.name)

    def close(self) -> None:
        """Close all pieces and remove the files."""
        for membership in self._opened:
            membership.close("stopped")
        shutil.rmtree(self.folder, ignore_errors=True)


def batch(iteration: int, chance: random.Random | None = None) -> Message:
    """A batch as net1 sends it, of 8 to 64 KiB."""
    numbers = np.random.RandomState(iteration + 7)
    samples = 2 if chance is None else chance.randrange(2, 16)
    pool2 = numbers.rand(samples, 4, 16, 16).astype(np.float32)
    label = numbers.randint(0, 10, samples).astype(np.float32)
    return Message("train", iteration, {"pool2": pool2, "label": label})


def assert_same(sent: Message, received: Message) -> None:
    """Check every byte of a message."""
    assert (sent.kind, sent.iteration) == (received.kind, received.iteration)
    assert list(sent.arrays) == list(received.arrays)
    for name, array in sent.arrays.items():
        assert received.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(received.arrays[name], array)
