#!/usr/bin/env python3
"""Measure what checkpoints cost, by their interval: time, and room on the disk.

    dualnet data cifar10 --source PATH
    scripts/bench_checkpoints.py [CONFIG …] [--intervals N …] [--rounds R] [-o FILE]

In every round each configuration is trained once without checkpoints and once with each interval,
each round begins with another, and a ratio is taken within a round. A line of JSON for each
training is appended to FILE.jsonl, and FILE.md is written from them all (default
results/bench/checkpoints).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.bench.cuts import Case  # noqa: E402 (the path comes first)
from dualnet.bench.machine import machine  # noqa: E402
from dualnet.bench.schedules.overlap import OverlapRequest  # noqa: E402
from dualnet.bench.schedules.timed_run import timed_run  # noqa: E402
from dualnet.strict_json import to_json  # noqa: E402

CONFIGS = ["configs/cifar10.yaml", "configs/digits.yaml"]
INTERVALS = [50, 100, 200]
CARRIERS = ["files", "tcp"]

Record = dict[str, Any]


def main() -> int:
    """Run all rounds; returns the exit code."""
    options = arguments().parse_args()
    raw, page = (options.output.with_suffix(suffix) for suffix in (".jsonl", ".md"))
    for number in range(options.rounds):
        for config in options.configs:
            for carrier in options.carriers:
                every = [0, *options.intervals]
                shift = number % len(every)
                for interval in [*every[shift:], *every[:shift]]:
                    record = one(config, carrier, interval, options)
                    with raw.open("a", encoding="utf-8") as file:
                        file.write(to_json({**record, "round": number, **machine()}) + "\n")
                    print(to_json(record), flush=True)
    lines = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    page.write_text(to_page(lines), encoding="utf-8")
    return 0


def one(config: str, carrier: str, interval: int, options: argparse.Namespace) -> Record:
    """One training: mean time of an iteration, and the most room that the run has taken."""
    case = Case(config, [f"exchange.carrier={carrier}"])
    places = OverlapRequest(config).places(case.pieces)
    places.pop("single")
    times = timed_run(
        case, [f"train.snapshot={interval}"], places, options.iterations, options.warm_up
    )
    return {
        "config": case.config.name,
        "carrier": carrier,
        "interval": interval,
        "iteration_ms": round(max(one.iteration_s for one in times.values()) * 1e3, 3),
        "sent_mb": round(sum(one.sent_bytes for one in times.values()) / 1e6, 3),
    }


def to_page(lines: Sequence[Record]) -> str:
    """The raw lines as a table."""
    text = [
        "# What checkpoints cost\n\n",
        "    scripts/bench_checkpoints.py\n\n",
        "Time of an iteration with a checkpoint every so many iterations, over that without, taken "
        "within a round; median and range. Messages since the last but one checkpoint of either "
        "piece are kept on the disk, at most three intervals of them.\n\n",
        f"{lines[-1]['machine']}, {lines[-1]['cores']} cores, "
        f"{max(line['round'] for line in lines) + 1} rounds.\n\n",
        "| net | carrier | interval | iteration | cost | kept on the disk, at most |\n",
        "|---|---|---:|---:|---:|---:|\n",
    ]
    for config, carrier in dict.fromkeys((line["config"], line["carrier"]) for line in lines):
        of = [x for x in lines if (x["config"], x["carrier"]) == (config, carrier)]
        without = {x["round"]: x["iteration_ms"] for x in of if x["interval"] == 0}
        for interval in sorted({x["interval"] for x in of}):
            own = [x for x in of if x["interval"] == interval]
            took = median(x["iteration_ms"] for x in own)
            ratios = [100 * (x["iteration_ms"] / without[x["round"]] - 1) for x in own]
            cost = f"{median(ratios):+.1f} % ({min(ratios):+.1f} to {max(ratios):+.1f})"
            kept = f"{3 * interval * own[0]['sent_mb']:.0f} MB"
            text.append(
                f"| {config} | {carrier} | {interval or 'none'} | {took:.1f} ms | "
                f"{cost if interval else ''} | {kept if interval else ''} |\n"
            )
    return "".join(text)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: scripts/bench_checkpoints.py configs/cifar10.yaml --intervals 100",
    )
    parser.add_argument(
        "configs", metavar="CONFIG", nargs="*", default=CONFIGS,
        help=f"what is trained (default: {' '.join(CONFIGS)})",
    )  # fmt: skip
    parser.add_argument(
        "--intervals", nargs="+", type=int, default=INTERVALS, metavar="N",
        help="iterations between checkpoints (default: 50 100 200)",
    )  # fmt: skip
    parser.add_argument(
        "--carriers", nargs="+", default=CARRIERS, metavar="NAME",
        help="files, tcp, torch (default: files tcp)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of each (default: 5)")
    parser.add_argument(
        "--iterations", type=int, default=200,
        help="that are timed, a multiple of every interval (default: 200)",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up", type=int, default=10, help="iterations before them (default: 10)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "results/bench/checkpoints", metavar="FILE",
        help="without a suffix (default: results/bench/checkpoints)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
