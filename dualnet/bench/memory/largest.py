"""`dualnet bench memory`: the largest batch of the single net and of each piece, in equal memory.

A chain's batch is the smallest of its pieces'. Caffe's `iter_size`, which adds up the gradients
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

__all__ = ["MemoryRequest", "bench_memory"]

Record = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class MemoryRequest:
    """What to measure.

    Attributes:
        config: The YAML file.
        overrides: What `--set` says.
        chains: Chains to compare, each by the cuts of its single net (cuts.py); empty: the config's
            own.
        pieces: Which of `single` and the chain's pieces; empty: all.
        limit_mib: Memory of each process; None: all that the GPU has.
        device: `cpu`, or the number of a GPU.
        start: The first batch that is tried.
        resolution: How near to the largest batch to come, as a share of it.
        iterations: Training iterations of a probe.
        layers: Whether to measure layers, too.
    """

    config: str
    overrides: Sequence[str] = ()
    chains: Sequence[str] = ()
    pieces: Sequence[str] = ()
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
        say: Takes a line on every probe.

    Yields:
        The machine; then for each chain the largest batch and the layers of single and its pieces,
        the iter_size that reaches the chain's batch, the ratio and its limit.

    Raises:
        UsageError: No chain has a piece of a name that was asked for.
    """
    yield {"bench": "memory", **machine(), "limit_mib": request.limit_mib,
           "device": request.device, "resolution": request.resolution}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        single: Optional[Probe] = None
        measured = cases(request.config, request.overrides, request.chains, scratch)
        _check(request, measured)
        for case in measured:
            prober = Prober(case, request.limit_mib, request.device, request.iterations)
            # Micro-batches are all of one size.
            unit = case.config.train.micro_batches
            best: dict[str, Probe] = {} if single is None else {"single": single}
            for piece in _pieces_of(case):
                is_wanted = not request.pieces or piece in request.pieces
                if piece in best or not is_wanted:
                    continue  # the uncut net is the same for every chain
                best[piece] = _search(prober, piece, request, unit, say)
                yield _record(case, piece, best[piece])
                if request.layers and best[piece].fits:
                    yield from _layers(prober, case, piece, best[piece].batch)
            single = best.get("single")
            yield from _comparison(prober, case, best, say)


def _pieces_of(case: Case) -> list[str]:
    """What can be measured: the single net, if the config names it, and the chain's pieces."""
    return ["single"] * bool(case.config.single.solver) + case.pieces


def _check(request: MemoryRequest, measured: Sequence[Case]) -> None:
    known = list(dict.fromkeys(piece for case in measured for piece in _pieces_of(case)))
    unknown = [name for name in request.pieces if name not in known]
    if unknown:
        raise UsageError(
            f"--pieces {' '.join(unknown)}: {' and '.join(case.chain for case in measured)} has "
            f"{', '.join(known)}"
        )


def _search(prober: Prober, piece: str, request: MemoryRequest, unit: int, say: Say) -> Probe:
    """The largest batch of a piece, in multiples of `unit` samples."""
    probes: dict[int, Probe] = {}

    def peak(size: int) -> Optional[float]:
        batch = unit * size
        found = probes[batch] = prober.probe(piece, batch)
        verdict = "fits" if found.fits else f"does not fit ({found.reason})"
        say(f"{piece}: batch {batch} {verdict}, peak {found.peak_mib:.0f} MiB")
        return found.peak_mib if found.fits else None

    size = largest(peak, max(1, request.start // unit), request.limit_mib, request.resolution)
    return probes.get(unit * size, Probe(0, False, 0.0, reason="not even one sample fits"))


def _record(case: Case, piece: str, probe: Probe) -> Record:
    names = {"net": case.names["net"]} if piece == "single" else case.names
    record = {**names, "piece": piece, "batch": probe.batch, "peak_mib": round(probe.peak_mib, 1),
              "base_mib": round(probe.base_mib, 1)}  # fmt: skip
    if not probe.fits:
        return {**record, "reason": probe.reason}
    grown = (probe.peak_mib - probe.base_mib) * 1024 / probe.batch
    rate = probe.batch / probe.iteration_s
    return {**record, "kib_per_sample": round(grown, 1), "iteration_s": round(probe.iteration_s, 4),
            "samples_per_s": round(rate, 1)}  # fmt: skip


def _layers(prober: Prober, case: Case, piece: str, batch: int) -> Iterator[Record]:
    answer = prober.layers(piece, batch)
    for row in answer["layers"] if answer is not None else []:
        parts = {
            f"{key}_mib": None if value is None else round(value, 3)
            for key, value in row.items()
            if key not in ("layer", "type")
        }
        names = {"net": case.names["net"]} if piece == "single" else case.names
        yield {**names, "piece": piece, "batch": batch,
               "layer": row["layer"], "type": row["type"], **parts}  # fmt: skip


def _comparison(prober: Prober, case: Case, best: dict[str, Probe], say: Say) -> Iterator[Record]:
    """iter_size and the ratio, where the single net and all pieces were measured."""
    needed = ["single", *case.pieces]
    if not case.pieces or not all(name in best and best[name].fits for name in needed):
        return
    single, chain = best["single"], min(best[piece].batch for piece in case.pieces)
    passes = max(2, math.ceil(chain / single.batch))
    unit = case.config.train.micro_batches
    batch = unit * math.ceil(chain / passes / unit)
    added = prober.probe("single", batch, passes)
    say(f"single: iter_size {passes} of batch {batch}, peak {added.peak_mib:.0f} MiB")
    record = _record(case, "single", added)
    if added.fits:
        # Its iteration is one update: of all passes.
        record["samples_per_s"] = round(batch * passes / added.iteration_s, 1)
    yield {**record, "iter_size": passes, "effective_batch": batch * passes, "instead_of": chain}
    ratio = chain / single.batch
    result = {**case.names, "single_batch": single.batch, "chain_batch": chain,
              "chain_over_single": round(ratio, 3)}  # fmt: skip
    try:
        limit = memory_limit(case, single.batch)
        result.update(limit=round(limit, 3), share_of_limit=round(ratio / limit, 3))
    except ConfigError as error:
        result["limit_unknown"] = str(error)
    yield result
