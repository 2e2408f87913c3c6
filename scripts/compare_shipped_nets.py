#!/usr/bin/env python3
"""Compare the engine with BVLC Caffe on every net that Caffe ships: all blobs, all gradients.

    DUALNET_BVLC_PYTHON=PATH scripts/compare_shipped_nets.py --caffe DIR [-o FILE.md] \\
        [--small] [--only TEXT]

DIR is the folder that holds Caffe's models/ and examples/. Data layers become Input layers with
random values, dropout keeps everything, missing fillers are replaced by random weights. Exit code 1
if a net differs or is refused.
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
from dualnet.engine.formats import prototxt
from tests.engine.differential.compare import Rejected, compare
from tests.engine.differential.judge import Judge, JudgeDied
from tests.engine.differential.random_net import RandomNet
from tests.engine.differential.shipped import is_large, net_files, shipped_net, solver_files

HEAD = """# Caffe's own nets on both providers

Every prototxt below `models/` and `examples/` of Caffe's distribution, run forward and backward by
the engine and by BVLC Caffe (CPU, one thread) from the same weights and inputs. Worst difference:
of any blob, parameter or gradient, relative to the array's largest magnitude, among the arrays
within tolerance (1e-5; 5e-5 for parameters' gradients). "By layer" counts arrays that differ more
over the whole net, but are within the same tolerance where each layer computes from BVLC's numbers
instead of the engine's. "Within rounding" counts arrays that differ more there as well, but no more
than when every layer's result changes in its last bit.

How a last bit grows: in pool5 of CaffeNet's train_val net, two windows hold two candidates that
differ by 1 to 3 units in the last place. BVLC's and the engine's convolutions round them in
opposite order, pooling sends the gradient to the other pixel, and every gradient below differs by
up to 6 % of its scale.

Data layers are replaced by Input layers with random values (their files are not shipped), dropout
keeps everything (the providers draw different numbers), and parameters without a filler are random.
Nets with images wider than 100 pixels run with batch 1, others with 2.

Command: `DUALNET_BVLC_PYTHON=PATH scripts/compare_shipped_nets.py --caffe DIR -o FILE`

| Net | Phase | Layers | Arrays | Worst difference | By layer | Within rounding | Result |
|---|---|---:|---:|---:|---:|---:|---|
"""


def main() -> int:
    """Compares all nets, prints a line each and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--caffe", type=Path, required=True, help="holds models/ and examples/")
    parser.add_argument("-o", "--output", type=Path, help="where to write the table")
    parser.add_argument("--small", action="store_true", help="leave out nets of large images")
    parser.add_argument("--only", default="", help="only nets whose path contains this")
    options = parser.parse_args()
    python = os.environ.get("DUALNET_BVLC_PYTHON", "")
    if not python:
        parser.error("DUALNET_BVLC_PYTHON is unset: run scripts/install_caffe.sh")
    files = [path for path in net_files(options.caffe) if options.only in str(path)]
    if not files:
        parser.error(f"no prototxt below {options.caffe}/models and {options.caffe}/examples")
    rows, bad = [], 0
    with tempfile.TemporaryDirectory() as name, Judge(python, Path(name), timeout_s=600) as judge:
        for path in files:
            for phase in (0, 1):
                case = shipped_net(path, phase)
                if options.small and is_large(case):
                    continue
                started = time.monotonic()
                row, fine = _row(judge, Path(name), case)
                bad += not fine
                net = path.relative_to(options.caffe)
                rows.append(f"| {net} | {('TRAIN', 'TEST')[phase]} | {row}")
                print(f"{rows[-1]} {time.monotonic() - started:.1f} s", flush=True)
    solvers = solver_files(options.caffe)
    for path in solvers:
        prototxt.read_solver(path)
    end = f"{len(rows)} nets, {len(rows) - bad} equal; {len(solvers)} solver prototxt read."
    print(end)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(HEAD + "\n".join(rows) + f"\n\n{end}\n")
    return 1 if bad else 0


def _row(judge: Judge, folder: Path, case: RandomNet) -> tuple[str, bool]:
    """A net's columns, and whether it is equal."""
    layers = case.text.count("\nlayer {") + case.text.startswith("layer {")
    try:
        verdict = compare(judge, folder, case, stored=False)
    except (CaffeError, JudgeDied, Rejected) as error:
        return f"{layers} | | | | | {type(error).__name__}: {error} |", False
    result = "; ".join(map(str, verdict.mismatches)) or "equal"
    grown = f"{len(verdict.stepwise)} | {len(verdict.ill_conditioned)}"
    columns = f"{layers} | {verdict.arrays} | {verdict.worst:.1e} | {grown} | {result} |"
    return columns, not verdict.mismatches


if __name__ == "__main__":
    sys.exit(main())
