"""Whether a net trains at a batch size within a memory limit: asked of a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any, Optional

from dualnet.bench.cuts import Case
from dualnet.bench.memory.usage import resident_mib
from dualnet.errors import TrainingFailed

__all__ = ["Probe", "Prober"]

#: Seconds between two readings of a child's memory.
_POLL_S = 0.01
#: How processes and libraries say that there is no memory.
_WORDS = ("out of memory", "outofmemory", "memoryerror", "bad_alloc", "can't allocate memory",
          "cannot allocate memory", "defaultcpuallocator", "not enough memory")  # fmt: skip
#: The C library gives every large block back when it is freed, so that a layer's own peak shows;
#: the engine otherwise keeps them (dualnet/engine/core/memory.py).
_GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


@dataclass(frozen=True)
class Probe:
    """The result of training at one batch size.

    Attributes:
        batch: Samples of a batch.
        fits: Whether it trained within the limit.
        peak_mib: The most memory in use, up to the end or to where it was stopped.
        base_mib: In use before the net was built: the interpreter and the libraries.
        iteration_s: The last iteration's time.
        reason: Why it does not fit.
    """

    batch: int
    fits: bool
    peak_mib: float
    base_mib: float = 0.0
    iteration_s: float = 0.0
    reason: str = ""


class Prober:
    """Starts the children.

    Args:
        case: The chain, and its single net.
        limit_mib: Of a child's memory; None: what the device has (GPU only).
        device: `cpu`, or the number of a GPU.
        iterations: Whole training iterations of a probe.
    """

    def __init__(
        self,
        case: Case,
        limit_mib: Optional[float],
        device: str = "cpu",
        iterations: int = 2,
    ) -> None:
        self.limit_mib, self.device = limit_mib, device
        quiet = ["train.display=0", "train.test_interval=0", "train.snapshot=0",
                 f"train.max_iter={iterations + 1}"]  # fmt: skip
        quiet += [f"{piece}.device={device}" for piece in ("single", *case.pieces)]
        self._spec = {"config": case.path, "iterations": iterations, "limit_mib": limit_mib}
        self._overrides = [*case.overrides, *quiet]

    def probe(self, piece: str, batch: int, iter_size: int = 1) -> Probe:
        """Train a piece's net.

        Args:
            piece: `single`, or `net1` to `netK`.
            batch: Samples of a batch.
            iter_size: Batches whose gradients add up to one update (single only).

        Raises:
            TrainingFailed: The child ended for another reason than memory.
        """
        found, answer = self._run(piece, batch, iter_size)
        if answer is None:
            return found
        return replace(
            found, peak_mib=max(answer["peak_mib"], found.peak_mib),
            base_mib=answer["base_mib"], iteration_s=answer["iteration_s"][-1],
        )  # fmt: skip

    def layers(self, piece: str, batch: int) -> Optional[dict[str, Any]]:
        """The table of layers.py; None if it does not fit."""
        return self._run(piece, batch, 1, layers=True)[1]

    def _run(
        self, piece: str, batch: int, iter_size: int, layers: bool = False
    ) -> tuple[Probe, Optional[dict[str, Any]]]:
        with tempfile.TemporaryDirectory() as scratch:
            spec = {
                **self._spec, "piece": piece, "run_dir": os.path.join(scratch, "run"),
                "overrides": [*self._overrides, f"train.batch_size={batch}"],
                "iter_size": iter_size, "layers": layers,
            }  # fmt: skip
            command = [sys.executable, "-m", "dualnet.bench.memory.child", json.dumps(spec)]
            out, err = (os.path.join(scratch, name) for name in ("out", "err"))
            with open(out, "wb") as stdout, open(err, "wb") as stderr:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                    env={**os.environ, **(_GIVING_BACK if layers else {})},
                )  # fmt: skip
            try:
                peak_mib, is_over = self._watch(child)
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
            if is_over:
                return Probe(batch, False, peak_mib, reason="limit"), None
            return self._outcome(child.returncode, batch, peak_mib, out, err)

    def _watch(self, child: subprocess.Popen[bytes]) -> tuple[float, bool]:
        """Wait until a child ends or exceeds the limit; (peak in MiB, whether it exceeds it)."""
        peak_mib = 0.0
        is_limited = self.limit_mib is not None and self.device == "cpu"
        while child.poll() is None:
            peak_mib = max(peak_mib, resident_mib(child.pid, peak=self.device == "cpu") or 0.0)
            if is_limited and peak_mib > (self.limit_mib or 0.0):
                return peak_mib, True
            time.sleep(_POLL_S)
        return (peak_mib if self.device == "cpu" else 0.0), False

    def _outcome(
        self, code: int, batch: int, peak_mib: float, out: str, err: str
    ) -> tuple[Probe, Optional[dict[str, Any]]]:
        if code == 0:
            with open(out, encoding="utf-8") as file:
                answer: dict[str, Any] = json.loads(file.read().splitlines()[-1])
            limit, peak_mib = self.limit_mib, answer.get("peak_mib", peak_mib)
            fits = limit is None or peak_mib <= limit
            return Probe(batch, fits, peak_mib, reason="" if fits else "limit"), answer
        with open(err, encoding="utf-8", errors="replace") as file:
            text = file.read()
        is_memory = code == -9 or any(word in text.lower() for word in _WORDS)
        if not is_memory:
            last = (text.strip().splitlines() or ["no output"])[-1]
            raise TrainingFailed(f"batch {batch}: exit code {code}: {last}")
        return Probe(batch, False, peak_mib, reason="out of memory"), None
