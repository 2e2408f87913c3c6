"""Two processes that send an array there and back: half the round trip is the time one way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np

from dualnet.errors import TrainingFailed
from dualnet.exchange.channel import Message
from dualnet.exchange.factory import open_link
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["Pair", "Variant"]

#: Longer than in a training: while other variants are measured, this one waits.
_HANG_S = 3600.0


@dataclass(frozen=True)
class Variant:
    """One way to exchange.

    Attributes:
        name: In the records.
        carrier, verify, digest: As in the YAML's `exchange`.
        folder: Where its exchange directory is made; "": on /dev/shm.
    """

    name: str
    carrier: str
    verify: bool
    digest: str
    folder: str


class Pair:
    """The two processes of a variant.

    Args:
        variant: How they exchange.
    """

    def __init__(self, variant: Variant) -> None:
        self._name = variant.name
        self._folder = tempfile.TemporaryDirectory(dir=variant.folder or "/dev/shm")
        run_dir = os.path.join(self._folder.name, "run")
        os.mkdir(run_dir)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "dualnet.bench.ping_pong", piece, run_dir, variant.carrier,
                 variant.digest, "verify" if variant.verify else ""],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for piece in ("net1", "net2")
        ]  # fmt: skip

    def measure(self, nbytes: int, seconds: float) -> list[float]:
        """Send messages there and back; one-way times in seconds.

        Args:
            nbytes: Of a message.
            seconds: How long to go on, about.

        Raises:
            TrainingFailed: One of the processes failed.
        """
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
        """End both processes."""
        for process in self._processes:
            try:
                process.communicate(timeout=20)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.communicate()
        self._folder.cleanup()


def _run(piece: str, run_dir: str, carrier: str, digest: str, verify: str) -> None:
    """One process of a pair: net1 reads sizes from its standard input until that ends."""
    settings = ExchangeSettings(
        retain=0,
        verify=bool(verify),
        digest=digest,
        hang_timeout_s=_HANG_S,
        lock_dir=os.path.join(run_dir, "locks"),
    )
    with Membership(piece, run_dir, settings, {}) as membership:
        channel = open_link(carrier, membership, Link("net1", "net2"), settings)
        channel.handshake({})
        iteration = 0
        if piece == "net2":
            while True:
                array = channel.receive("up", iteration).arrays["x"]
                if not array.size:
                    return
                channel.send(Message("down", iteration, {"x": array}))
                iteration += 1
        for line in sys.stdin:
            nbytes, seconds = line.split()
            array = np.ones(int(nbytes) // 4, np.float32)
            times: list[float] = []
            while 2 * sum(times) < float(seconds) or len(times) < 4:
                started_s = time.perf_counter()
                channel.send(Message("up", iteration, {"x": array}))
                channel.receive("down", iteration)
                times.append((time.perf_counter() - started_s) / 2)
                iteration += 1
            sys.stdout.write(json.dumps(times) + "\n")
            sys.stdout.flush()
        channel.send(Message("up", iteration, {"x": np.zeros(0, np.float32)}))


if __name__ == "__main__":
    _run(*sys.argv[1:])
