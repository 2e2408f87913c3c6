"""One timed run: a chain of pieces, or the single net, trained for some iterations."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dualnet.bench.cuts import Case
from dualnet.errors import NeighbourDied, TrainingFailed

__all__ = ["PieceTimes", "Place", "summarise", "timed_run"]

#: Seconds between two polls of the processes.
_POLL_S = 0.05
#: Seconds that the other processes get to end by themselves after one has failed.
_GRACE_S = 5.0


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        cores: Those that it is bound to.
        prefix: What its command begins with, as `ip netns exec NAME`.
        threads: CPU threads; 0: as many as cores.
        group: The control group that it joins after its first iteration, which is after everything
            is loaded (dualnet/bench/quota.py); empty: none.
    """

    cores: Sequence[int]
    prefix: Sequence[str] = ()
    threads: int = 0
    group: str = ""


@dataclass(frozen=True)
class PieceTimes:
    """A process's measured iterations, those after the warm-up.

    Attributes:
        batch: Samples of a batch, all micro-batches together.
        iteration_s: Mean time of an iteration over all of them, which gives the throughput.
        median_s: Median of the iterations' times.
        wait_s: Waiting for neighbours, an iteration.
        exchange_s: Writing, reading and verifying messages, an iteration.
        cpu_s: Processor time of all threads, an iteration.
        sent_bytes: Array data of the messages sent, an iteration.
    """

    batch: int
    iteration_s: float
    median_s: float
    wait_s: float
    exchange_s: float
    cpu_s: float
    sent_bytes: float

    @property
    def busy_s(self) -> float:
        """An iteration's time without the waiting."""
        return self.iteration_s - self.wait_s


def timed_run(
    case: Case,
    settings: Sequence[str],
    places: Mapping[str, Place],
    iterations: int,
    warm_up: int,
    tail: int = 0,
) -> dict[str, PieceTimes]:
    """Train in processes of their own, and measure some of the iterations.

    Needs no privileges, but for what a place's prefix asks for. Files go into a temporary folder of
    the working directory, which all the processes share.

    Args:
        case: The run.
        settings: Further `--set` values.
        places: Where each piece runs: `single`, or `net1` to `netK`.
        iterations: How many are measured.
        warm_up: Iterations before them, one at least.
        tail: Iterations after them, in which an overlapped run drains its pending batches.

    Returns:
        Piece to what was measured, times in seconds.

    Raises:
        TrainingFailed: A process failed; it is named, with the last line of its errors.
    """
    total = warm_up + iterations + tail
    quiet = [f"train.max_iter={total}", "train.display=0", "train.test_interval=0",
             "train.snapshot=0", "exchange.partner_timeout_s=300"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as scratch:
        processes = {
            piece: _start(case, [*quiet, *settings], piece, place, scratch)
            for piece, place in places.items()
        }
        try:
            _wait(processes, scratch)
        finally:
            for process in processes.values():
                if process.poll() is None:
                    process.kill()
                process.wait()
        found = {}
        for piece in places:
            with open(_path(scratch, piece, "json"), encoding="utf-8") as file:
                answer = json.load(file)
            rows = answer["rows"][warm_up - 1 : warm_up + iterations]
            found[piece] = summarise(rows, answer["batch"])
    return found


def summarise(rows: Sequence[Mapping[str, float]], batch: int) -> PieceTimes:
    """The times between the first row and the last, an iteration.

    Args:
        rows: One after each iteration, two at least, with `time_s` and `cpu_s` in seconds, and
            what has added up of `wait_s`, `exchange_s` and `bytes`; the first is the end of the
            warm-up.
        batch: Samples of a batch.
    """
    count = len(rows) - 1

    def each(key: str) -> float:
        return float(rows[-1].get(key, 0.0) - rows[0].get(key, 0.0)) / count

    steps = [after["time_s"] - before["time_s"] for before, after in zip(rows, rows[1:])]
    return PieceTimes(
        batch, each("time_s"), statistics.median(steps), each("wait_s"), each("exchange_s"),
        each("cpu_s"), each("bytes"),
    )  # fmt: skip


def _start(
    case: Case, settings: Sequence[str], piece: str, place: Place, scratch: str
) -> subprocess.Popen[bytes]:
    threads = [f"{piece}.threads={place.threads}"] if place.threads else []
    spec: dict[str, Any] = {
        "config": case.path, "overrides": [*case.overrides, *settings, *threads], "piece": piece,
        "run_dir": os.path.join(scratch, "run"), "cores": list(place.cores),
        "out": _path(scratch, piece, "json"), "group": place.group,
    }  # fmt: skip
    command = [
        *place.prefix,
        sys.executable,
        "-m",
        "dualnet.bench.schedules.child",
        json.dumps(spec),
    ]
    count = str(place.threads or len(place.cores))
    counts = {f"{name}_NUM_THREADS": count for name in ("OMP", "OPENBLAS", "MKL")}
    # As dualnet/training/start/cores.py: a process that waits must not spin on another's cores.
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GLOG_minloglevel": "2"}
    with open(_path(scratch, piece, "err"), "wb") as stderr:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            env={**os.environ, **counts, **passive},
        )  # fmt: skip


def _wait(processes: Mapping[str, subprocess.Popen[bytes]], scratch: str) -> None:
    """Wait for all to end.

    Raises:
        TrainingFailed: One has failed; the others are ended.
    """
    while any(process.poll() is None for process in processes.values()):
        failed = [piece for piece, process in processes.items() if process.poll()]
        if failed:
            for process in processes.values():
                try:
                    process.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            break
        time.sleep(_POLL_S)
    for piece, process in processes.items():
        code = process.poll()
        # Not one that has only noticed another's end, or had to be ended.
        if code and code not in (NeighbourDied.exit_code, -signal.SIGKILL):
            raise TrainingFailed(f"{piece}: exit code {code}: {_last_line(scratch, piece)}")
    for piece, process in processes.items():
        if process.poll() != 0:
            raise TrainingFailed(f"{piece}: {_last_line(scratch, piece)}")


def _last_line(scratch: str, piece: str) -> str:
    with open(_path(scratch, piece, "err"), encoding="utf-8", errors="replace") as file:
        return (file.read().strip().splitlines() or ["no output"])[-1]


def _path(scratch: str, piece: str, kind: str) -> str:
    return os.path.join(scratch, f"{piece}.{kind}")
