"""`dualnet bench memory`: the largest batch of single, net1 and net2 in the same memory.

The dual batch is the smaller of net1's and net2's. Caffe's `iter_size`, which adds up the gradients
of several smaller batches, reaches any batch in the single net's memory and on one machine: it
stands beside them, with what it costs in time.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from dualnet.bench.cuts import Case, cases
from dualnet.bench.machine import machine
from dualnet.bench.memory.limit import memory_limit
from dualnet.bench.memory.probe import Probe, Prober
from dualnet.bench.memory.search import largest
from dualnet.errors import ConfigError, UsageError

__all__ = ["ROLES", "MemoryRequest", "bench_memory"]

ROLES = ("single", "net1", "net2")

Record = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class MemoryRequest:
    """What to measure.

    Attributes:
        config: The YAML file.
        overrides: What `--set` says.
        cuts: Cuts of its single net to compare, as `pool1:conv2`; empty: the config's own.
        roles: Which nets.
        limit_mib: Memory of each process; None: all that the GPU has.
        device: `cpu`, or the number of a GPU.
        start: The first batch that is tried.
        resolution: How near to the largest batch to come, as a share of it.
        iterations: Training iterations of a probe.
        layers: Whether to measure layers, too.
    """

    config: str
    overrides: Sequence[str] = ()
    cuts: Sequence[str] = ()
    roles: Sequence[str] = ROLES
    limit_mib: Optional[float] = None
    device: str = "cpu"
    start: int = 64
    resolution: float = 0.01
    iterations: int = 2
    layers: bool = True

    def __post_init__(self) -> None:
        if self.device == "cpu" and self.limit_mib is None:
            raise UsageError(
                "--limit-mib: not given; on the CPU say how much memory a process may have (on a "
                "GPU, --device N, its own size is the limit)"
            )
        if min(self.start, self.iterations) < 1 or not 0 < self.resolution < 1:
            raise UsageError(
                f"--start {self.start}, --iterations {self.iterations}, --resolution "
                f"{self.resolution:g}: start and iterations must be 1 or more, resolution between "
                "0 and 1"
            )


def bench_memory(request: MemoryRequest, say: Say = lambda line: None) -> Iterator[Record]:
    """Find the largest batches.

    Args:
        request: What to measure.
        say: Told of every probe.

    Yields:
        The machine; for each net its largest batch and its layers; the iter_size that reaches the
        dual batch; and for each cut the ratio and its limit.
    """
    yield {"bench": "memory", **machine(), "limit_mib": request.limit_mib,
           "device": request.device, "resolution": request.resolution}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        single: Optional[Probe] = None
        for case in cases(request.config, request.overrides, request.cuts, scratch):
            prober = Prober(
                case.path, case.overrides, request.limit_mib, request.device, request.iterations
            )
            best: dict[str, Probe] = {} if single is None else {"single": single}
            for role in request.roles:
                if role in best:
                    continue  # the uncut net is the same at every cut
                best[role] = _search(prober, role, request, say)
                yield _record(case, role, best[role])
                if request.layers and best[role].fits:
                    yield from _layers(prober, case, role, best[role].batch)
            single = best.get("single")
            yield from _comparison(prober, case, best, say)


def _search(prober: Prober, role: str, request: MemoryRequest, say: Say) -> Probe:
    probes: dict[int, Probe] = {}

    def peak(batch: int) -> Optional[float]:
        found = probes[batch] = prober.probe(role, batch)
        verdict = "fits" if found.fits else f"does not fit ({found.reason})"
        say(f"{role}: batch {batch} {verdict}, peak {found.peak_mib:.0f} MiB")
        return found.peak_mib if found.fits else None

    batch = largest(peak, request.start, request.limit_mib, request.resolution)
    return probes.get(batch, Probe(0, False, 0.0, reason="not even one sample fits"))


def _record(case: Case, role: str, probe: Probe) -> Record:
    names = {"net": case.names["net"]} if role == "single" else case.names
    record = {**names, "role": role, "batch": probe.batch, "peak_mib": round(probe.peak_mib, 1),
              "base_mib": round(probe.base_mib, 1)}  # fmt: skip
    if not probe.fits:
        return {**record, "reason": probe.reason}
    grown = (probe.peak_mib - probe.base_mib) * 1024 / probe.batch
    rate = probe.batch / probe.iteration_s
    return {**record, "kib_per_sample": round(grown, 1), "iteration_s": round(probe.iteration_s, 4),
            "samples_per_s": round(rate, 1)}  # fmt: skip


def _layers(prober: Prober, case: Case, role: str, batch: int) -> Iterator[Record]:
    answer = prober.layers(role, batch)
    for row in answer["layers"] if answer is not None else []:
        parts = {
            f"{key}_mib": None if value is None else round(value, 3)
            for key, value in row.items()
            if key not in ("layer", "type")
        }
        names = {"net": case.names["net"]} if role == "single" else case.names
        yield {**names, "role": role, "batch": batch,
               "layer": row["layer"], "type": row["type"], **parts}  # fmt: skip


def _comparison(prober: Prober, case: Case, best: dict[str, Probe], say: Say) -> Iterator[Record]:
    """iter_size and the ratio, where all three nets were measured."""
    if not all(role in best and best[role].fits for role in ROLES):
        return
    single, dual = best["single"], min(best["net1"].batch, best["net2"].batch)
    passes = max(2, math.ceil(dual / single.batch))
    batch = math.ceil(dual / passes)
    added = prober.probe("single", batch, passes)
    say(f"single: iter_size {passes} of batch {batch}, peak {added.peak_mib:.0f} MiB")
    record = _record(case, "single", added)
    if added.fits:
        # Its iteration is one update: of all passes.
        record["samples_per_s"] = round(batch * passes / added.iteration_s, 1)
    yield {**record, "iter_size": passes, "effective_batch": batch * passes, "instead_of": dual}
    ratio = dual / single.batch
    result = {**case.names, "single_batch": single.batch, "dual_batch": dual,
              "dual_over_single": round(ratio, 3)}  # fmt: skip
    try:
        limit = memory_limit(case, single.batch)
        result.update(limit=round(limit, 3), share_of_limit=round(ratio / limit, 3))
    except ConfigError as error:
        result["limit_unknown"] = str(error)
    yield result
