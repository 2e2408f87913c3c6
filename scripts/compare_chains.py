#!/usr/bin/env python3
"""Split nets into chains of four and five pieces, and compare every gradient with the whole net's.

    scripts/compare_chains.py [--caffe DIR] [--only TEXT] [-o FILE.md]

DIR holds Caffe's models/ and examples/, as scripts/install_caffe.sh leaves them in
.caffe/share/caffe; without it only our own nets are split. The provider is that of DUALNET_CAFFE;
FILE keeps the rows that another provider has left in it.
`dualnet data cifar10` and `dualnet data digits` have to be done.

The pieces stand in one process: two batches go up the chain and their targets or gradients down,
from the single net's weights. Exit code 1 if a gradient is not the whole net's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dualnet import backend
from tests.cut.chain import compare, cut_up
from tests.cut.split.cuts import NETS, prepare

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 2e-5

#: Net to its cuts: blobs and dual layers.
CHAINS = {
    "thesis, digits": [("conv1", "pool1 conv2"), ("pool2", "conv3"), ("relu3", "conv4")],
    "thesis, CIFAR-10": [("pool1", "conv2"), ("pool2", "conv3"), ("relu3", "conv4")],
    "ResNet-18": [
        ("res2a_conv1", "res2a_conv2"),
        ("res3a", "res3b_conv1 res3b_conv1_bn res3b_conv1_scale"),
        ("res4b", "res5a_shortcut res5a_conv1"),
    ],
    "CaffeNet": [("norm1", "conv2"), ("norm2", "conv3"), ("conv4", "conv5")],
    "GoogLeNet": [
        ("pool2/3x3_s2", "inception_3a/3x3_reduce"),
        ("inception_4a/3x3_reduce", "inception_4a/3x3"),
        ("inception_4d/3x3_reduce", "inception_4d/3x3"),
        ("inception_4e/output", "pool4/3x3_s2"),
    ],
}

HEAD = """# Chains of four and five pieces: every gradient against the whole net's

Every row: `dualnet split NET --at … --dual …` with as many cuts as named, and two batches through
the pieces in one process, from the single net's weights. **Largest**: of all layers of all pieces,
the largest |chain - whole| / |whole| of a layer's gradient; float32 rounds each sum by 6e-8. Nets
and images are those of [README.md](README.md). With `gradient` the pieces send y - gamma g, with
`backprop` the gradient itself, where lower copies of dual layers take no part.

Command: `OMP_NUM_THREADS=1 scripts/compare_chains.py --caffe DIR -o FILE`, with each provider.

| Caffe | Net | Cuts | Target | Gradients | Largest |
|---|---|---|---|---:|---:|
"""


def main() -> int:
    """Compares all chains, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--caffe", type=Path, help="holds Caffe's models/ and examples/")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("-o", "--output", type=Path, help="where to write the table")
    options = parser.parse_args()
    output = options.output and options.output.resolve()
    os.chdir(ROOT)
    rows, worst = [], 0.0
    for name, cuts in CHAINS.items():
        if options.only not in name or (NETS[name].is_caffes and not options.caffe):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = prepare(NETS[name], scratch, options.caffe)
            yaml, _ = cut_up(path, cuts, os.path.join(scratch, "cut"))
            for target in ("gradient", "backprop"):
                found = compare(path, yaml, target, folder=scratch)
                worst = max(worst, *found.values())
                places = ", ".join(at for at, _ in cuts)
                rows.append(
                    f"| {backend.provider} | {name} | {places} | {target} | {len(found)} | "
                    f"{max(found.values()):.1e} |"
                )
                print(rows[-1], flush=True)
    if output:
        other = "bvlc" if backend.provider == "engine" else "engine"
        old = output.read_text().splitlines() if output.exists() else []
        kept = [line for line in old if line.startswith(f"| {other} |")]
        output.write_text(HEAD + "\n".join(sorted(kept + rows, reverse=True)) + "\n")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
