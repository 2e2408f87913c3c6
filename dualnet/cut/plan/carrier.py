"""How long a message takes through a directory: sent by one process, received by another."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple, Optional

import numpy as np

from dualnet.cut.plan.schedule_time import MessageTime
from dualnet.errors import StorageFailed
from dualnet.exchange import ExchangeSettings, Link, Membership, open_link
from dualnet.exchange.channel import Channel, Message

__all__ = ["Carrier", "answer", "measure_carrier"]

#: Bytes of the messages that are timed; the largest is as large as the largest that is planned.
_SIZES = (1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_WARM_UP, _REPEATS = 2, 7
#: The largest message has at least so many bytes: a smaller one takes hardly longer than none.
_LEAST_LARGEST = 1 << 22
#: By what share of the smallest message's time the largest has to take longer.
_SHOWS = 0.5
_NEIGHBOUR_TIMEOUT_S = 60.0
#: The other process. Not `-m`: its package imports this module before it could be run.
_CHILD = """
import sys
from dualnet.cut.plan.carrier import answer
from dualnet.errors import DualnetError
try:
    answer(sys.argv[1], int(sys.argv[2]), sys.argv[3])
except DualnetError as error:
    sys.exit(f"dualnet: {error}")
"""


class Carrier(NamedTuple):
    """Measured one-way times.

    Attributes:
        sizes: Bytes of the messages, ascending.
        seconds: From the call of `send` to the return of `receive`, arrays put in place.
        send_seconds: Of these, the call of `send`: what the sender is busy with.
        name: As exchange.carrier in the YAML.
        latency_s, wire_s: What a network adds that was not measured: a delay, and seconds a byte.
    """

    sizes: list[int]
    seconds: list[float]
    send_seconds: list[float]
    name: str = "files"
    latency_s: float = 0.0
    wire_s: float = 0.0

    def one_way_s(self, size: float) -> float:
        """Seconds that a message of `size` bytes takes from `send` to the end of `receive`.

        Linear interpolation between the measured sizes, linear extrapolation beyond the largest; a
        message below the smallest takes as long as that one.
        """
        if size <= self.sizes[-1]:
            return float(np.interp(size, self.sizes, self.seconds))
        rate = self.bytes_per_s
        return self.seconds[-1] + ((size - self.sizes[-1]) / rate if rate else 0.0)

    def message(self, size: float) -> MessageTime:
        """A message of `size` bytes: what is not the sender's time is the receiver's."""
        whole_s = self.one_way_s(size)
        share = np.interp(size, self.sizes, np.divide(self.send_seconds, self.seconds))
        return MessageTime(
            send_s=float(share) * whole_s,
            transit_s=size * self.wire_s,
            latency_s=self.latency_s,
            receive_s=float(1 - share) * whole_s,
        )

    @property
    def bytes_per_s(self) -> Optional[float]:
        """Of the largest message, what every message costs left out.

        None where the largest took hardly longer than the smallest, so that nothing can be said.
        """
        more_s = self.seconds[-1] - self.seconds[0]
        if more_s <= _SHOWS * self.seconds[0]:
            return None
        return (self.sizes[-1] - self.sizes[0]) / more_s


def measure_carrier(directory: str, largest: int, carrier: str = "files") -> Carrier:
    """Send messages there and back.

    Args:
        directory: Where runs are going to exchange files.
        largest: Bytes of the largest message; where that is too small to show a rate, larger ones
            are timed.
        carrier: As exchange.carrier in the YAML.

    Raises:
        StorageFailed: The directory is not there, or cannot be written.
        DualnetError: The exchange failed.
    """
    largest = max(largest, _LEAST_LARGEST)
    sizes = [size for size in _SIZES if 2 * size <= largest] + [largest]
    try:
        with tempfile.TemporaryDirectory(prefix="dualnet-plan-", dir=directory) as run_dir:
            count = len(sizes) * (_WARM_UP + _REPEATS)
            neighbour = _start(run_dir, count, carrier)
            try:
                seconds, sent = _time_all(run_dir, sizes, carrier)
                neighbour.wait(_NEIGHBOUR_TIMEOUT_S)
            finally:
                if neighbour.poll() is None:
                    neighbour.kill()
                    neighbour.wait()
    except OSError as error:
        raise StorageFailed(
            f"{directory}: cannot exchange files there: {error.strerror}; name another directory "
            "with --exchange-dir"
        ) from error
    return Carrier(sizes, seconds, sent, carrier)


def _start(run_dir: str, count: int, carrier: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, run_dir, str(count), carrier],
        env={**os.environ, "PYTHONPATH": path},
    )


@contextmanager
def _open(carrier: str, piece: str, run_dir: str) -> Iterator[Channel]:
    settings = ExchangeSettings(partner_timeout_s=_NEIGHBOUR_TIMEOUT_S, retain=0)
    with Membership(piece, run_dir, settings, {"plan": 1}) as membership:
        channel = open_link(carrier, membership, Link("net1", "net2"), settings)
        channel.handshake({})
        yield channel


def _time_all(run_dir: str, sizes: Iterable[int], carrier: str) -> tuple[list[float], list[float]]:
    """For each size the medians of a message's whole way, and of the call of `send`."""
    medians, sent_medians = [], []
    with _open(carrier, "net1", run_dir) as channel:
        iteration = 0
        for number, size in enumerate(sizes):
            array = np.arange(size // 4, dtype=np.float32)
            place = np.empty_like(array)
            seconds, sent = [], []
            for _ in range(_WARM_UP + _REPEATS):
                started_s = time.perf_counter()
                channel.send(Message(f"up{number}", iteration, {"blob": array}))
                sent.append(time.perf_counter() - started_s)
                place[...] = channel.receive(f"down{number}", iteration).arrays["blob"]
                seconds.append((time.perf_counter() - started_s) / 2)
                iteration += 1
            medians.append(median(seconds[_WARM_UP:]))
            sent_medians.append(min(median(sent[_WARM_UP:]), medians[-1]))
    return medians, sent_medians


def answer(run_dir: str, count: int, carrier: str) -> None:
    """The other process: send `count` messages back as they come."""
    with _open(carrier, "net2", run_dir) as channel:
        place = np.empty(0, np.float32)
        for iteration in range(count):
            number = iteration // (_WARM_UP + _REPEATS)
            array = channel.receive(f"up{number}", iteration).arrays["blob"]
            if place.shape != array.shape:
                place = np.empty_like(array)
            place[...] = array
            channel.send(Message(f"down{number}", iteration, {"blob": place}))
