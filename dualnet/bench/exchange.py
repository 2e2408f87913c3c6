"""How long a message takes from one process's memory into another's, for each carrier.

Ping-pong between two processes for each variant (ping_pong.py). All of them are alive at the same
time, and the measurements are interleaved, with those of the machine's floor (floors.py) among
them, so that a change of the machine's load affects all alike:

- `copy`: `numpy.copyto` of as many bytes within one process;
- `bare socket`: the same bytes over TCP on this machine, without a digest, a MAC or a frame;
- `bare files`: write, rename, read, without a digest, a record or anybody to wait for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from dualnet.bench.floors import bare_files, bare_socket, copies
from dualnet.bench.ping_pong import Pair, Variant
from dualnet.config.exchange import CARRIERS
from dualnet.errors import UsageError
from dualnet.exchange.digest import check_digest

__all__ = ["bench_exchange"]

_MB = 1 << 20


def bench_exchange(
    carriers: Sequence[str] = ("files", "tcp"),
    sizes_mb: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    rounds: int = 5,
    seconds: float = 0.3,
    unverified: bool = False,
    folder: str = "",
    digests: Sequence[str] = ("sha256",),
) -> Iterator[dict[str, Any]]:
    """Time messages of several sizes over several carriers.

    Args:
        carriers: of `CARRIERS`.
        sizes_mb: in units of 2^20 bytes.
        rounds: how often each variant is measured with each size.
        seconds: how long a measurement lasts, about.
        unverified: each carrier takes part once more without `exchange.verify`.
        folder: where the exchange directories are made; "" is the system's for temporary files.
            The carrier of files takes part once more on /dev/shm, where there is one.
        digests: of `DIGESTS`: each carrier takes part with each.

    Yields:
        Records for JSON lines: one for each size and variant, one-way times in milliseconds and
        as multiples of `copy`'s.

    Raises:
        UsageError: no such carrier, or a number that makes no sense.
        ConfigError: a digest that cannot be computed here.
        TrainingFailed: a variant's process failed.
    """
    unknown = [carrier for carrier in carriers if carrier not in CARRIERS]
    if unknown:
        raise UsageError(f"--carrier {unknown[0]}: expected one of {', '.join(CARRIERS)}")
    for digest in digests:
        check_digest(digest)
    if rounds < 1 or seconds <= 0 or not sizes_mb or min(sizes_mb) < 1:
        raise UsageError(
            f"--sizes {list(sizes_mb)}, --rounds {rounds}, --seconds {seconds:g}: sizes and rounds "
            "must be 1 or more, seconds above 0"
        )
    with tempfile.TemporaryDirectory(dir=folder or None) as disk:
        variants = list(_variants(carriers, digests, unverified, disk))
        pairs = {variant.name: Pair(variant) for variant in variants}
        try:
            for size_mb in sizes_mb:
                yield from _measure(pairs, size_mb, rounds, seconds, disk)
        finally:
            for pair in pairs.values():
                pair.end()


def _variants(
    carriers: Sequence[str], digests: Sequence[str], unverified: bool, disk: str
) -> Iterator[Variant]:
    ways = [(True, digest, "" if digest == "sha256" else f" {digest}") for digest in digests]
    if unverified:
        ways.append((False, "sha256", " unverified"))
    for carrier in carriers:
        for verify, digest, suffix in ways:
            yield Variant(carrier + suffix, carrier, verify, digest, disk)
            if carrier == "files" and os.access("/dev/shm", os.W_OK):
                yield Variant(f"files on tmpfs{suffix}", carrier, verify, digest, "")


def _measure(
    pairs: dict[str, Pair], size_mb: int, rounds: int, seconds: float, disk: str
) -> Iterator[dict[str, Any]]:
    floors = ("copy", "bare socket", "bare files")
    times: dict[str, list[float]] = {name: [] for name in (*floors, *pairs)}
    for number in range(rounds):
        times["copy"] += copies(size_mb * _MB, seconds)
        times["bare socket"] += bare_socket(size_mb * _MB, seconds)
        times["bare files"] += bare_files(size_mb * _MB, seconds, disk)
        for name, pair in pairs.items():
            found = pair.measure(size_mb * _MB, seconds)
            # The first round warms up: memory is allocated, and TCP's windows open.
            times[name] += found if number or rounds == 1 else found[len(found) // 2 :]
    floor_s = statistics.median(times["copy"])
    for name, values in times.items():
        median_s = statistics.median(values)
        yield {
            "exchange": name,
            "size_mb": size_mb,
            "median_ms": round(1e3 * median_s, 4),
            "best_ms": round(1e3 * min(values), 4),
            "messages": len(values),
            "mb_per_s": round(size_mb / median_s, 1),
            "times_copy": round(median_s / floor_s, 2),
        }
