"""What the exchange by files costs, beside a bare write, rename and read of the same bytes.

Both pieces live in this process and a message is received as soon as it is sent, so that nobody
waits: what is measured is the work. The kinds of message are interleaved within each round, so that
a busy machine slows all of them; processor time, all threads together, hardly depends on it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualnet.config.exchange import DIGESTS
from dualnet.errors import UsageError
from dualnet.exchange import Link, Membership, open_link
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.mounts import find_mount
from dualnet.exchange.settings import ExchangeSettings
from scripts.fault_campaign.ledger import Ledger

__all__ = ["bench_exchange", "run_cost"]

_MIB = 1 << 20
#: With each digest, and unverified.
_KINDS = (*DIGESTS, "none")


@dataclass(frozen=True)
class Timing:
    """One message, or one bare copy."""

    wall_ms: float
    cpu_ms: float
    send_ms: float = 0.0


def bench_exchange(
    folders: Sequence[str],
    sizes_mib: Sequence[float] = (2, 8),
    rounds: int = 50,
    hash_threads: int = ExchangeSettings.hash_threads,
    iteration_ms: float = 0.0,
) -> Iterator[dict[str, Any]]:
    """Time messages of some sizes, with each digest and unverified, and bare copies.

    Args:
        folders: existing folders to measure in, one for each file system.
        sizes_mib: sizes of the one array of a message.
        rounds: messages of each kind.
        hash_threads: as in the settings of the exchange.
        iteration_ms: what an iteration takes; 0: unknown, so there is no share of it.

    Yields:
        A record for each folder, size and setting: medians in milliseconds.

    Raises:
        UsageError: a number is out of range, or a folder is missing.
    """
    if rounds < 1 or iteration_ms < 0 or not all(1 / 1024 <= size <= 1024 for size in sizes_mib):
        raise UsageError(
            f"--rounds {rounds}, --iteration-ms {iteration_ms:g}, --sizes {list(sizes_mib)}: at "
            "least 1 round, no negative time, sizes of 1/1024 to 1024 MiB"
        )
    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(f"{folder}: no such folder; name one on the file system to measure")
        for size_mib in sizes_mib:
            with tempfile.TemporaryDirectory(prefix="dualnet-bench-", dir=folder) as scratch:
                yield from _one_size(scratch, size_mib, rounds, hash_threads, iteration_ms)


def run_cost(scratch: Path, ledger: Ledger, seed: int, count: int) -> None:
    """Measure on this disk and on a tmpfs; a row for each setting.

    Args:
        scratch: an existing folder on the disk.
        ledger: where rows go; if it has some, nothing is done.
        seed: unused.
        count: rounds.
    """
    if ledger.rows:
        return
    folders = [str(scratch), *(path for path in ["/dev/shm"] if os.path.isdir(path))]
    # 2 and 4 MiB: pool2 and conv3p of the CIFAR-10 net at batch 256; 8: the largest asked about.
    for threads in (0, 2):
        for record in bench_exchange(folders, (2, 4, 8), count, threads):
            ledger.add({**record, "wrong": ""})


def _one_size(
    scratch: str, size_mib: float, rounds: int, hash_threads: int, iteration_ms: float
) -> Iterator[dict[str, Any]]:
    values = np.random.RandomState(0).rand(int(size_mib * _MIB) // 4).astype(np.float32)
    lines = {digest: _Line(scratch, digest, hash_threads) for digest in _KINDS}
    bare = _Bare(scratch, values)
    taken: dict[str, list[Timing]] = {name: [] for name in ("bare", *_KINDS)}
    try:
        for number in range(rounds + 1):
            found = {"bare": bare.copy()}
            for digest, line in lines.items():
                found[digest] = line.pass_on(number, values)
            if number:  # the first round warms up
                for name, timing in found.items():
                    taken[name].append(timing)
    finally:
        for line in lines.values():
            line.close()
    with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
        mount = find_mount(scratch, file.read())
    for digest in _KINDS:
        ours = taken[digest]
        ratios = [one.wall_ms / other.wall_ms for one, other in zip(ours, taken["bare"])]
        record: dict[str, Any] = {
            "bench": "exchange",
            "file_system": mount.kind if mount is not None else "",
            "mib": size_mib,
            "digest": digest,
            "hash_threads": hash_threads,
            "rounds": rounds,
            **_summary("message", ours),
            **_summary("bare", taken["bare"]),
            "send_ms": round(statistics.median(timing.send_ms for timing in ours), 3),
            "ratio": round(statistics.median(ratios), 2),
        }
        record["cpu_ratio"] = round(record["message_cpu_ms"] / record["bare_cpu_ms"], 2)
        if iteration_ms:
            record["share_of_iteration"] = round(record["message_ms"] / iteration_ms, 4)
        yield record


def _summary(name: str, timings: Sequence[Timing]) -> dict[str, float]:
    """Medians, and the fastest, which is the least disturbed."""
    wall_ms = [timing.wall_ms for timing in timings]
    return {
        f"{name}_ms": round(statistics.median(wall_ms), 3),
        f"{name}_fastest_ms": round(min(wall_ms), 3),
        f"{name}_cpu_ms": round(statistics.median(timing.cpu_ms for timing in timings), 3),
    }


class _Line:
    """Both ends of an exchange that keeps nothing."""

    def __init__(self, scratch: str, digest: str, hash_threads: int) -> None:
        run_dir = os.path.join(scratch, f"digest-{digest}")
        os.mkdir(run_dir)
        settings = ExchangeSettings(
            verify=digest != "none",
            digest=digest if digest != "none" else "sha256",
            retain=0,
            hash_threads=hash_threads,
            lock_dir=os.path.join(scratch, f"locks-{digest}"),
        )
        link = Link("net1", "net2")
        self._members = [
            Membership(piece, run_dir, settings, {"bench": "exchange"})
            for piece in (link.lower, link.upper)
        ]
        self._ends = [open_link("files", one, link, settings) for one in self._members]

    def pass_on(self, number: int, values: np.ndarray) -> Timing:
        """Send and receive one message."""
        message = Message("bench", number, {"values": values})
        cpu_s, started_s = time.process_time(), time.perf_counter()
        self._ends[0].send(message)
        sent_s = time.perf_counter()
        received = self._ends[1].receive("bench", number)
        timing = _since(cpu_s, started_s, 1000 * (sent_s - started_s))
        if received.arrays["values"][-1] != values[-1]:
            raise RuntimeError("the exchange has changed a value")
        return timing

    def close(self) -> None:
        """Leave."""
        for one in self._members:
            one.close("stopped")


class _Bare:
    """A file written, renamed, read into fresh memory and removed, with nothing checked."""

    def __init__(self, scratch: str, values: np.ndarray) -> None:
        self._temporary = os.path.join(scratch, "bare.tmp")
        self._path = os.path.join(scratch, "bare")
        self._values = values

    def copy(self) -> Timing:
        """Copy once."""
        cpu_s, started_s = time.process_time(), time.perf_counter()
        with open(self._temporary, "wb", buffering=0) as file:
            file.write(self._values.data)
        os.rename(self._temporary, self._path)
        received = np.empty_like(self._values)
        with open(self._path, "rb", buffering=0) as file:
            file.readinto(received.view(np.uint8).data)
        timing = _since(cpu_s, started_s)
        os.unlink(self._path)
        if received[-1] != self._values[-1]:
            raise RuntimeError("the bare copy has changed a value")
        return timing


def _since(cpu_s: float, started_s: float, send_ms: float = 0.0) -> Timing:
    wall_ms = 1000 * (time.perf_counter() - started_s)
    return Timing(wall_ms, 1000 * (time.process_time() - cpu_s), send_ms)
