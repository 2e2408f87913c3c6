"""`dualnet bench engine`: training steps of the engine beside those of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Optional

from dualnet.bench.machine import machine
from dualnet.errors import UsageError

__all__ = ["bench_engine"]


def bench_engine(
    net: str = "both",
    threads: Optional[int] = None,
    repeats: int = 10,
    seconds: float = 2.0,
    layer_steps: int = 0,
) -> Iterator[dict[str, Any]]:
    """Time training steps of the engine, of plain PyTorch, and of BVLC Caffe where there is one.

    Args:
        net: `cifar10`, `caffenet` or `both`.
        threads: CPU threads of each process; None: as many as it may use cores.
        repeats: rounds, in each of which every variant is measured once.
        seconds: how long a measurement lasts, about.
        layer_steps: time single layers too, over so many steps.

    Yields:
        Records for JSON lines: the machine, then for each net its variants and their ratios.

    Raises:
        UsageError: a number is below 1, or there is no PyTorch.
    """
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    if threads < 1 or repeats < 1 or seconds <= 0 or layer_steps < 0:
        raise UsageError(
            f"--threads {threads}, --repeats {repeats}, --seconds {seconds:g}, --layers "
            f"{layer_steps}: threads and repeats must be 1 or more, seconds above 0, layers 0 or "
            "more"
        )
    try:
        from dualnet.engine.bench.nets import case
        from dualnet.engine.bench.variants import time_variants
    except ImportError as error:
        raise UsageError(
            f"bench engine needs PyTorch ({error}); run pip install 'dualnet[engine]'"
        ) from error
    bvlc_python = os.environ.get("DUALNET_BVLC_PYTHON") or None
    yield _machine(bvlc_python)
    for name in ("cifar10", "caffenet") if net == "both" else (net,):
        yield from time_variants(case(name), bvlc_python, threads, repeats, seconds, layer_steps)


def _machine(bvlc_python: Optional[str]) -> dict[str, Any]:
    record = machine()
    if bvlc_python is None:
        record["left_out"] = "BVLC Caffe: DUALNET_BVLC_PYTHON names no interpreter that has it"
    return record
