"""Measurements: `dualnet bench WHAT`.

engine.py times training steps, memory.py finds the largest batch of each net, overlap.py compares
schedules, exchange.py carriers. Each gives records, which the command prints as JSON lines.
"""

from __future__ import annotations

from dualnet.bench.engine import bench_engine
from dualnet.bench.machine import machine

__all__ = ["bench_engine", "machine"]
