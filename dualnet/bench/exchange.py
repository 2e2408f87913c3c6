"""How long a message takes from one process's memory into another's, for each carrier.

Two processes for each contender play ball: net1 sends an array, net2 sends it back; half of the
time that this takes is one way. All contenders are alive at the same time and take turns, and so
does the machine's floor, so that what else runs meets all alike:

- `copy`: `numpy.copyto` of as many bytes within one process;
- `bare socket`: the same bytes over TCP on this machine, without a digest, a MAC or a frame;
- `bare files`: write, rename, read, without a digest, a record or anybody to wait for.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualnet.errors import TrainingFailed, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import check_digest
from dualnet.exchange.factory import CARRIERS, open_channel
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["bench_exchange"]

_MB = 1 << 20
#: Beyond what a training would do: a contender waits long for its turn.
_PATIENCE_S = 3600.0


@dataclass(frozen=True)
class _Contender:
    name: str
    carrier: str
    verify: bool
    digest: str
    folder: str


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
        rounds: how often each contender has a turn with each size.
        seconds: how long a turn lasts, about.
        unverified: each carrier takes part once more without `exchange.verify`.
        folder: where the exchange directories are made; "" is the system's for temporary files.
            The carrier of files takes part once more on /dev/shm, where there is one.
        digests: of `DIGESTS`: each carrier takes part with each.

    Yields:
        Records for JSON lines: one for each size and contender, times one way in milliseconds and
        as multiples of `copy`'s.

    Raises:
        UsageError: no such carrier, or a number that makes no sense.
        ConfigError: a digest that cannot be computed here.
        TrainingFailed: a contender's process failed.
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
        contenders = list(_contenders(carriers, digests, unverified, disk))
        pairs = {contender.name: _Pair(contender) for contender in contenders}
        try:
            for size_mb in sizes_mb:
                yield from _contest(pairs, size_mb, rounds, seconds, disk)
        finally:
            for pair in pairs.values():
                pair.end()


def _contenders(
    carriers: Sequence[str], digests: Sequence[str], unverified: bool, disk: str
) -> Iterator[_Contender]:
    ways = [(True, digest, "" if digest == "sha256" else f" {digest}") for digest in digests]
    if unverified:
        ways.append((False, "sha256", " unverified"))
    for carrier in carriers:
        for verify, digest, suffix in ways:
            yield _Contender(carrier + suffix, carrier, verify, digest, disk)
            if carrier == "files" and os.access("/dev/shm", os.W_OK):
                yield _Contender(f"files on tmpfs{suffix}", carrier, verify, digest, "")


def _contest(
    pairs: dict[str, _Pair], size_mb: int, rounds: int, seconds: float, disk: str
) -> Iterator[dict[str, Any]]:
    floors = ("copy", "bare socket", "bare files")
    times: dict[str, list[float]] = {name: [] for name in (*floors, *pairs)}
    for number in range(rounds):
        times["copy"] += _copies(size_mb * _MB, seconds)
        times["bare socket"] += _bare_socket(size_mb * _MB, seconds)
        times["bare files"] += _bare_files(size_mb * _MB, seconds, disk)
        for name, pair in pairs.items():
            turn = pair.play(size_mb * _MB, seconds)
            # In the first round memory is taken and connections find their pace.
            times[name] += turn if number or rounds == 1 else turn[len(turn) // 2 :]
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


def _copies(nbytes: int, seconds: float) -> list[float]:
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started_s = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - started_s)
    return times


def _bare_socket(nbytes: int, seconds: float) -> list[float]:
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    times: list[float] = []

    def give_back(sock: socket.socket) -> None:
        while _fill(sock, target.data):
            sock.sendall(target.data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    with one, two:
        other = threading.Thread(target=give_back, args=(two,), daemon=True)
        other.start()
        while 2 * sum(times) < seconds or len(times) < 3:
            started_s = time.perf_counter()
            one.sendall(source.data)
            _fill(one, source.data)
            times.append((time.perf_counter() - started_s) / 2)
        one.shutdown(socket.SHUT_RDWR)
        other.join()
    return times


def _fill(sock: socket.socket, buffer: memoryview) -> bool:
    """Receive exactly a buffer; False at the end."""
    while len(buffer):
        count = sock.recv_into(buffer)
        if count == 0:
            return False
        buffer = buffer[count:]
    return True


def _bare_files(nbytes: int, seconds: float, folder: str) -> list[float]:
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    path = os.path.join(folder, "bare")
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started_s = time.perf_counter()
        with open(path + ".tmp", "wb", buffering=0) as file:
            file.write(source.data)
        os.rename(path + ".tmp", path)
        with open(path, "rb", buffering=0) as file:
            file.readinto(target.data)
        times.append(time.perf_counter() - started_s)
        os.unlink(path)
    return times


class _Pair:
    """The two processes of a contender."""

    def __init__(self, contender: _Contender) -> None:
        self._name = contender.name
        self._folder = tempfile.TemporaryDirectory(dir=contender.folder or "/dev/shm")
        run_dir = os.path.join(self._folder.name, "run")
        os.mkdir(run_dir)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "dualnet.bench.exchange", role, run_dir, contender.carrier,
                 contender.digest, "verify" if contender.verify else ""],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for role in ("net1", "net2")
        ]  # fmt: skip

    def play(self, nbytes: int, seconds: float) -> list[float]:
        """One turn; times one way."""
        net1 = self._processes[0]
        if net1.stdin is None or net1.stdout is None:
            raise RuntimeError("no pipes")
        try:
            net1.stdin.write(f"{nbytes} {seconds}\n")
            net1.stdin.flush()
            return [float(value) for value in json.loads(net1.stdout.readline())]
        except (OSError, ValueError) as error:
            raise TrainingFailed(f"bench exchange: {self._name} failed, see above") from error

    def end(self) -> None:
        """Let both leave."""
        for process in self._processes:
            try:
                process.communicate(timeout=20)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.communicate()
        self._folder.cleanup()


def _play(role: str, run_dir: str, carrier: str, digest: str, verify: str) -> None:
    """One process of a pair: net1 is told sizes on standard input until that ends."""
    settings = ExchangeSettings(
        retain=0,
        verify=bool(verify),
        digest=digest,
        hang_timeout_s=_PATIENCE_S,
        lock_dir=os.path.join(run_dir, "locks"),
    )
    with open_channel(carrier, role, run_dir, settings, {}) as channel:
        channel.handshake({})
        iteration = 0
        if role == "net2":
            while True:
                ball = channel.receive("up", iteration).arrays["x"]
                if not ball.size:
                    return
                channel.send(Message("down", iteration, {"x": ball}))
                iteration += 1
        for line in sys.stdin:
            nbytes, seconds = line.split()
            ball = np.ones(int(nbytes) // 4, np.float32)
            times: list[float] = []
            while 2 * sum(times) < float(seconds) or len(times) < 4:
                started_s = time.perf_counter()
                channel.send(Message("up", iteration, {"x": ball}))
                channel.receive("down", iteration)
                times.append((time.perf_counter() - started_s) / 2)
                iteration += 1
            sys.stdout.write(json.dumps(times) + "\n")
            sys.stdout.flush()
        channel.send(Message("up", iteration, {"x": np.zeros(0, np.float32)}))


if __name__ == "__main__":
    _play(*sys.argv[1:])
