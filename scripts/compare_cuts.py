#!/usr/bin/env python3
"""Split Caffe's nets and ours at many places, and compare dual training with single training.

    scripts/compare_cuts.py [--caffe DIR] [--only TEXT] [--providers engine,bvlc] [-o FILE.md]

DIR holds Caffe's models/ and examples/, as scripts/install_caffe.sh leaves them in
.caffe/share/caffe; without it only our own nets are split. BVLC Caffe runs in the interpreter that
DUALNET_BVLC_PYTHON names. `dualnet data cifar10` and `dualnet data digits` have to be done.

For each cut: split, train 20 iterations with target `gradient` and tie `start` from the single
net's weights, compare after 10, merge, and compare the merged net's loss with that of the pieces.
Exit code 1 if a cut fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.cut.split.cuts import NETS, TOLERANCE, run_net

ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Dual training at many cuts against single training

Every row: the net was split by `dualnet split NET --at CUT --dual LAYERS`, both pieces were trained
for 20 iterations with target `gradient` and tie `start` from the single net's initial weights, with
the solver that the net comes with (its learning rate replaced as said), and merged.

- **weights**: after 10 iterations, |dual - single| / |single| of a layer's parameters, the largest
  of all layers; it has to be below 1e-4.
- **difference / distance moved**: the same relative to the distance that these parameters moved in
  the 10 iterations. Where the learning rate is small, rounding of the weights shows here.
- **rounding baseline**: the same ratio for two trainings of the single net whose initial weights
  differ in the last bit of each: what rounding alone makes of this net in 10 iterations.
- **loss**: the largest relative difference of the losses that net2 shows in the first 10
  iterations, where all of the net's losses are in net2.

Where the difference is as large as the rounding baseline, as in two rows of cifar10_quick, rounding
has decided a ReLU or a pooling's maximum otherwise, as it does between two single trainings.

The merged net's test outputs over two batches are those of the two pieces, or the row says how far
apart they are.

Dropout drops nothing here (ratio 0): the pieces' random numbers are not those of the single net.
Images are not mirrored, for the same reason. To save time, batches are of 16 samples (ResNet-18: 8;
CaffeNet, AlexNet and GoogLeNet: 2). Caffe's nets and ResNet-18 read 64 images of CIFAR-10, enlarged
or reduced to 28x28 (LeNet, one channel), 32x32 (cifar10_quick, cifar10_full), 16x16 (ResNet-18),
99x99 (CaffeNet, AlexNet) and 128x128 (GoogLeNet, whose last pooling becomes global), less 128 and
divided by 128 in the place of their means and scales.

Engine: PyTorch {torch}; BVLC Caffe: Debian's 1.0.0+git20180821; CPU, one thread a piece.
Command: `OMP_NUM_THREADS=1 {command}`

| Net | Caffe | Rate | Crosses the cut | Dual layers | Compared | Weights | \
Difference / distance moved | Rounding baseline | Loss |
|---|---|---:|---|---|---|---:|---:|---:|---:|
"""


def main() -> int:
    """Runs all nets on all providers, each in a process of its own, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--caffe", type=Path, help="holds Caffe's models/ and examples/")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("--providers", default="engine,bvlc")
    parser.add_argument("-o", "--output", type=Path, help="where to write the table")
    parser.add_argument("--net", help=argparse.SUPPRESS)  # one net, in this process
    options = parser.parse_args()
    if options.net:
        with tempfile.TemporaryDirectory() as scratch:
            for row in run_net(NETS[options.net], scratch, options.caffe):
                print("ROW " + json.dumps(row), flush=True)
        return 0
    chosen = [
        name for name, net in NETS.items()
        if options.only in name and (options.caffe or not net.is_caffes)
    ]  # fmt: skip
    providers = options.providers.split(",")
    rows, bad = _rows_of_others(options.output, chosen, providers), 0
    for name in chosen:
        for provider in providers:
            started = time.monotonic()
            found, failure = _in_process(name, provider, options.caffe)
            for row in found:
                rows.append(_line(name, provider, row))
                print(rows[-1], flush=True)
                bad += not row["weights"] < TOLERANCE
            if failure:
                bad += 1
                rows.append(f"| {name} | {provider} | | {failure} | | | | | | |")
                print(rows[-1], flush=True)
            print(f"  {name} on {provider}: {time.monotonic() - started:.0f} s", flush=True)
            if options.output:
                _write(options, rows)
    return 1 if bad else 0


def _rows_of_others(output: Path | None, chosen: list[str], providers: list[str]) -> list[str]:
    """What an earlier run has written about what is not run now."""
    if output is None or not output.exists():
        return []
    lines = output.read_text().splitlines()
    now = [f"| {name} | {provider} |" for name in chosen for provider in providers]
    known = tuple(f"| {name} |" for name in NETS)
    return [line for line in lines if line.startswith(known) and not line.startswith(tuple(now))]


def _write(options: argparse.Namespace, rows: list[str]) -> None:
    order = list(NETS)
    rows = sorted(rows, key=lambda row: (order.index(row.split(" | ")[0][2:]), " | bvlc" in row))
    command = "scripts/compare_cuts.py --caffe DIR -o FILE" if options.caffe else sys.argv[0]
    good = sum(float(row.split(" | ")[6] or "inf") < TOLERANCE for row in rows)
    end = f"\n{len(rows)} rows, {good} within {TOLERANCE:g}.\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        HEAD.format(command=command, torch=version("torch")) + "\n".join(rows) + "\n" + end
    )


def _in_process(name: str, provider: str, caffe: Path | None) -> tuple[list[dict], str]:
    """A net's rows, and why it stopped if it did."""
    python = sys.executable
    if provider == "bvlc":
        python = os.environ.get("DUALNET_BVLC_PYTHON", "")
        if not python:
            return [], "DUALNET_BVLC_PYTHON is unset"
    words = [python, __file__, "--net", name] + (["--caffe", str(caffe)] if caffe else [])
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=str(ROOT),
        env={**os.environ, "DUALNET_CAFFE": provider, "GLOG_minloglevel": "2",
             "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    return rows, failure[0] if failure else ("it ended at once" if done.returncode else "")


def _line(name: str, provider: str, row: dict) -> str:
    loss = "" if row["loss"] is None else f"{row['loss']:.0e}"
    merged = "" if row["merged"] == "equal" else f" merged: {row['merged']} |"
    return (
        f"| {name} | {provider} | {row['rate']:g} | {row['blobs']} | {row['dual']} | "
        f"{row['compared']} | {row['weights']:.1e} | {row['way']:.1e} | "
        f"{row['noise']:.1e} | {loss} |{merged}"
    )


if __name__ == "__main__":
    sys.exit(main())
