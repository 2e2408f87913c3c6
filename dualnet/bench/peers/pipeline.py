"""One training with plain PyTorch: in one process, or in the stages of a pipeline."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dualnet.bench.network.link import ENDS
from dualnet.bench.peers.arena import Arena
from dualnet.bench.peers.input import Input
from dualnet.bench.schedules.timed_run import Place
from dualnet.errors import TrainingFailed

__all__ = ["Timed", "pipeline"]

#: Seconds between two polls of the processes.
_POLL_S = 0.05


@dataclass(frozen=True)
class Timed:
    """What a training took.

    Attributes:
        iteration_s: An iteration, of the slowest process.
        cpu_s: Processor time of an iteration, of each process.
    """

    iteration_s: float
    cpu_s: Sequence[float]


def pipeline(
    arena: Arena, schedule: str, micro: int, batch: int, given: Input, iterations: int, warm_up: int
) -> Timed:
    """Train.

    Args:
        arena: Where.
        schedule: `plain`: in one process; `GPipe` or `1F1B`.
        micro: Micro-batches of a batch.
        batch: Images of one.
        given: What is trained on.
        iterations: How many are measured.
        warm_up: How many before them.

    Raises:
        TrainingFailed: A process failed.
    """
    is_whole = schedule == "plain"
    places = [arena.whole] if is_whole else arena.places
    cuts = [cut.partition(":")[0] for cut in arena.chain.split("+")]
    address, port = ENDS[0].address if arena.link else "127.0.0.1", _free_port()
    with tempfile.TemporaryDirectory() as scratch:
        processes = []
        for rank, place in enumerate(places):
            spec = {"schedule": schedule, "micro": micro, "rank": rank, "cuts": cuts,
                    "cores": list(place.cores), "threads": place.threads,
                    "group": place.group, "batch": batch, "net": given.net, "labels": given.labels,
                    "iterations": iterations, "warm_up": warm_up,
                    "card": ENDS[rank].card if arena.link else "lo",
                    "address": address, "port": port, "out": f"{scratch}/{rank}"}  # fmt: skip
            processes.append(_start(place, spec))
        try:
            _wait(processes, f"{schedule} with {micro} micro-batches")
        finally:
            for process in processes:
                process.kill()
                process.wait()
        found = [json.loads(Path(f"{scratch}/{rank}").read_text()) for rank in range(len(places))]
    return Timed(max(one["iteration_s"] for one in found), [one["cpu_s"] for one in found])


def _start(place: Place, spec: dict[str, object]) -> subprocess.Popen[bytes]:
    threads = {f"{n}_NUM_THREADS": str(place.threads) for n in ("OMP", "MKL", "OPENBLAS")}
    # As in timed_run.py: threads that wait must not spin. Errors only, because c10d warns that the
    # addresses of its sockets have no names.
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TORCH_CPP_LOG_LEVEL": "ERROR",
             "GLOG_minloglevel": "2"}  # fmt: skip
    module = "dualnet.engine.bench.stage"
    command = [*place.prefix, sys.executable, "-m", module, json.dumps(spec)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env={**os.environ, **threads, **quiet}
    )


def _wait(processes: Sequence[subprocess.Popen[bytes]], what: str) -> None:
    """Until all have ended, or one has failed."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            break
        time.sleep(_POLL_S)
    codes = [process.poll() for process in processes]
    if any(codes) or None in codes:
        raise TrainingFailed(f"{what}: exit codes of its stages: {codes}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
