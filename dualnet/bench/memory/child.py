"""One probe in a process of its own: `python -m dualnet.bench.memory.child SPEC`.

SPEC is JSON: config, overrides, piece, run_dir, iterations, iter_size, limit_mib, layers. The last
line on stdout is the answer: the memory before the net is built and the peak after whole training
iterations, or with `layers` the table of layers.py. The parent process enforces the limit.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from dualnet import config as cfg
from dualnet.bench.memory.layers import layer_table
from dualnet.bench.memory.stand_in import FakeChannel
from dualnet.bench.memory.usage import make_usage
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.loop.links import Links
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write

__all__ = ["main"]


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Train for some iterations; returns the answer."""
    config = cfg.load(spec["config"], spec["overrides"])
    piece = RunDir(spec["run_dir"]).piece(spec["piece"])
    usage = make_usage(config.piece(piece.name).device, spec["limit_mib"])
    base_mib = usage.now()
    os.makedirs(piece.run, exist_ok=True)
    resolved = resolve(config, piece)
    resolved.solver.iter_size = config.train.micro_batches * spec["iter_size"]
    write(resolved)
    nets = Nets(config, resolved)
    if spec["layers"]:
        return {"base_mib": base_mib, "layers": layer_table(nets, usage)}
    with CaffeLog(piece.log, resolved.display) as log:
        loop = _loop(nets, log)
        seconds = [_timed(loop, iteration) for iteration in range(spec["iterations"])]
    return {"base_mib": base_mib, "peak_mib": usage.peak(), "iteration_s": seconds}


def _loop(nets: Nets, log: CaffeLog) -> PieceLoop:
    ends = {"below": nets.resolved.below, "above": nets.resolved.above}
    channels = {side: FakeChannel(nets, end) for side, end in ends.items() if end is not None}
    session = Session(nets, log, Links(list(channels.values())))
    return PieceLoop(nets, session, **channels)


def _timed(loop: PieceLoop, iteration: int) -> float:
    # Its outputs are read at the end, which waits for a GPU.
    started_s = time.perf_counter()
    loop.step(iteration)
    loop.nets.train.outputs()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    answer = main(json.loads(sys.argv[1]))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
