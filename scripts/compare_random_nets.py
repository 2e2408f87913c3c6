#!/usr/bin/env python3
"""Compare the engine with BVLC Caffe on random nets: all blobs, all gradients.

    DUALNET_BVLC_PYTHON=PATH scripts/compare_random_nets.py --nets 1000 --seed 0 [--keep DIR]

Net i of seed s is that of seed s + i, so any net can be repeated alone with `--nets 1 --seed SEED`.
Exit code 1 if a net differs, or if either provider refuses one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dualnet.engine.errors import CaffeError
from tests.engine.differential.compare import Rejected, compare
from tests.engine.differential.judge import Judge, JudgeDied
from tests.engine.differential.random_net import random_net


def main() -> int:
    """Compares as many nets as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nets", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first net's seed (default: 0)")
    parser.add_argument("--keep", type=Path, help="where to keep the prototxt of nets that differ")
    parser.add_argument("--show", action="store_true", help="print each net's prototxt")
    options = parser.parse_args()
    python = os.environ.get("DUALNET_BVLC_PYTHON", "")
    if not python:
        parser.error("DUALNET_BVLC_PYTHON is unset: run scripts/install_caffe.sh")
    started, arrays, worst, types = time.monotonic(), 0, 0.0, set()
    equal, stepwise, conditioned, rejected, bad = 0, 0, 0, 0, []
    with tempfile.TemporaryDirectory() as name, Judge(python, Path(name)) as judge:
        for done, seed in enumerate(range(options.seed, options.seed + options.nets), 1):
            net = random_net(seed)
            if options.show:
                print(net.text)
            words = ""
            try:
                verdict = compare(judge, Path(name), net)
            except Rejected:
                rejected += 1
                continue
            except (CaffeError, JudgeDied) as error:
                words = f"{type(error).__name__}: {error}"
            except Exception as error:  # a bug of the engine: say which net, and go on
                words = f"engine failed: {type(error).__name__}: {error}"
            else:
                arrays += verdict.arrays
                worst = max(worst, verdict.worst)
                types |= {line.split('type: "')[1].split('"')[0]
                          for line in net.text.splitlines() if 'type: "' in line}  # fmt: skip
                if verdict.mismatches:
                    words = "; ".join(map(str, verdict.mismatches))
                elif verdict.ill_conditioned:
                    conditioned += 1
                elif verdict.stepwise:
                    stepwise += 1
                else:
                    equal += 1
            if words:
                bad.append(seed)
                print(f"seed {seed}: {words}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{seed}.prototxt").write_text(net.text)
            if done % 100 == 0:
                print(f"{done} nets, {len(bad)} differ, {time.monotonic() - started:.0f} s",
                      flush=True)  # fmt: skip
    print(
        f"{options.nets} nets of {len(types)} layer types from seed {options.seed}, {arrays} "
        f"arrays: {equal} equal within tolerance (worst {worst:.1e} of an array's scale), "
        f"{stepwise} so layer by layer, {conditioned} within their rounding, {rejected} overflow, "
        f"{len(bad)} differ{': ' if bad else ''}{', '.join(map(str, bad))}; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
