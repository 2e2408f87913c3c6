"""One timed run: a pair of halves, or the single net, trained for some iterations."""

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
from dualnet.errors import PartnerDied, TrainingFailed

__all__ = ["Place", "RoleTimes", "run_turn", "summarise"]

#: Time between two looks at the processes, and what a survivor gets to end by itself.
_LOOK_S, _GRACE_S = 0.05, 5.0


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        cores: Those that it is bound to.
        prefix: What its command begins with, as `ip netns exec NAME`.
    """

    cores: Sequence[int]
    prefix: Sequence[str] = ()


@dataclass(frozen=True)
class RoleTimes:
    """A process's iterations after the warm-up, in seconds.

    Attributes:
        batch: Samples of a batch.
        iteration_s: Mean over the whole stretch: what ends in a throughput.
        median_s: Median of the single iterations.
        wait_s: Waiting for the other half, an iteration.
        exchange_s: Writing, reading and verifying messages, an iteration.
        cpu_s: Processor time of all threads, an iteration.
        sent_bytes: An iteration.
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
        """All but the waiting."""
        return self.iteration_s - self.wait_s


def run_turn(
    case: Case,
    settings: Sequence[str],
    places: Mapping[str, Place],
    iterations: int,
    warm_up: int,
    tail: int = 0,
) -> dict[str, RoleTimes]:
    """Train.

    Args:
        case: The run.
        settings: Further `--set` values.
        places: The roles, `single` or `net1` and `net2`, and where each runs.
        iterations: Those that count.
        warm_up: Those before them.
        tail: Those after them, as in a pipeline that runs empty.

    Returns:
        Role to what was measured.

    Raises:
        TrainingFailed: A process failed.
    """
    total = warm_up + iterations + tail
    quiet = [f"train.max_iter={total}", "train.display=0", "train.test_interval=0",
             "train.snapshot=0", "exchange.partner_timeout_s=300"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as scratch:
        processes = {
            role: _start(case, [*quiet, *settings], role, place, scratch)
            for role, place in places.items()
        }
        try:
            _wait(processes, scratch)
        finally:
            for process in processes.values():
                if process.poll() is None:
                    process.kill()
                process.wait()
        found = {}
        for role in places:
            with open(_path(scratch, role, "json"), encoding="utf-8") as file:
                answer = json.load(file)
            rows = answer["rows"][warm_up - 1 : warm_up + iterations]
            found[role] = summarise(rows, answer["batch"])
    return found


def summarise(rows: Sequence[Mapping[str, float]], batch: int) -> RoleTimes:
    """What happened between the first row and the last.

    Args:
        rows: One after each iteration; the first is the end of the warm-up. Two at least.
        batch: Samples of a batch.
    """
    count = len(rows) - 1

    def each(key: str) -> float:
        return float(rows[-1].get(key, 0.0) - rows[0].get(key, 0.0)) / count

    steps = [after["time_s"] - before["time_s"] for before, after in zip(rows, rows[1:])]
    return RoleTimes(
        batch, each("time_s"), statistics.median(steps), each("wait_s"), each("exchange_s"),
        each("cpu_s"), each("bytes"),
    )  # fmt: skip


def _start(
    case: Case, settings: Sequence[str], role: str, place: Place, scratch: str
) -> subprocess.Popen[bytes]:
    spec: dict[str, Any] = {
        "config": case.path, "overrides": [*case.overrides, *settings], "role": role,
        "run_dir": os.path.join(scratch, "run"), "cores": list(place.cores),
        "out": _path(scratch, role, "json"),
    }  # fmt: skip
    command = [
        *place.prefix,
        sys.executable,
        "-m",
        "dualnet.bench.turns.turn_child",
        json.dumps(spec),
    ]
    threads = {f"{name}_NUM_THREADS": str(len(place.cores)) for name in ("OMP", "OPENBLAS", "MKL")}
    # As dualnet/cli/cores.py: who waits must not take the other's cores.
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GLOG_minloglevel": "2"}
    with open(_path(scratch, role, "err"), "wb") as stderr:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            env={**os.environ, **threads, **passive},
        )  # fmt: skip


def _wait(processes: Mapping[str, subprocess.Popen[bytes]], scratch: str) -> None:
    """Until all have ended well."""
    while any(process.poll() is None for process in processes.values()):
        failed = [role for role, process in processes.items() if process.poll()]
        if failed:
            for process in processes.values():
                try:
                    process.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            break
        time.sleep(_LOOK_S)
    for role, process in processes.items():
        code = process.poll()
        # Not the one that has only noticed the other's end, or had to be ended.
        if code and code not in (PartnerDied.exit_code, -signal.SIGKILL):
            raise TrainingFailed(f"{role}: exit code {code}: {_last_line(scratch, role)}")
    for role, process in processes.items():
        if process.poll() != 0:
            raise TrainingFailed(f"{role}: {_last_line(scratch, role)}")


def _last_line(scratch: str, role: str) -> str:
    with open(_path(scratch, role, "err"), encoding="utf-8", errors="replace") as file:
        return (file.read().strip().splitlines() or ["no output"])[-1]


def _path(scratch: str, role: str, kind: str) -> str:
    return os.path.join(scratch, f"{role}.{kind}")
