#!/usr/bin/env python3
"""Draw what `dualnet bench overlap` or scripts/bench_pipelining.py printed: images a second.

Usage: scripts/plot_throughput.py RECORDS.jsonl [RECORDS.jsonl] -o FIGURE.png [--table]

Each file is a panel; of bench_pipelining.py's raw lines each setting is one, and of the numbers of
micro-batches only the best is drawn. A line marks the upper limit of each variant, where it is
known: the throughput if no piece ever waited.

Example:
  dualnet bench overlap configs/cifar10.yaml --cut pool1:conv2 > overlap.jsonl
  scripts/plot_throughput.py overlap.jsonl -o overlap.png --table
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dualnet.bench.peers.summary import settings_of, summary, titles


def main() -> None:
    """Read the records, draw, and print the table of overlaps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--table", action="store_true", help="print `bench overlap`'s as Markdown")
    options = parser.parse_args()
    panels = {name: records for path in options.records for name, records in _read(path).items()}
    draw(panels, options.output)
    if options.table:
        for name, records in panels.items():
            print(f"\n{name}\n\n{table(records)}")


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Panels of a file, each with its records."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if lines and lines[0].get("bench") == "chain":
        settings = settings_of(lines)
        panels = {
            name: [record for record in summary(setting) if record["best"]]
            for name, setting in zip(titles(settings), settings)
        }
    else:
        panels = {path.stem: [record for record in lines if "samples_per_s" in record]}
    for records in panels.values():
        for record in records:
            # The key in records of earlier versions, and of bench_pipelining.py.
            record.setdefault("variant", record.get("contender", ""))
    return panels


def draw(panels: dict[str, list[dict[str, Any]]], path: str) -> None:
    """Bars, a panel for each file."""
    most = max(map(len, panels.values()))
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.4 * columns, rows * (0.9 + 0.3 * most)), squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (name, records) in zip(axes.flat, panels.items()):
        labels = [_label(record) for record in records]
        values = [record["samples_per_s"] for record in records]
        axis.barh(labels, values, color=[_color(record) for record in records])
        for place, record in enumerate(records):
            axis.annotate(f" {values[place]:.0f}", (values[place], place), va="center", fontsize=8)
            if "limit_over_alternating" in record:
                limit = values[place] * record["limit_over_alternating"]
                limit /= record["over_alternating"]
                axis.plot([limit, limit], [place - 0.4, place + 0.4], color="black", linewidth=1.2)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.15 * max(values))
        axis.set_xlabel("images per second")
        axis.set_title(textwrap.fill(name, 48), fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _label(record: dict[str, Any]) -> str:
    return f"{record['cut']}: {record['variant']}" if "cut" in record else record["variant"]


def _color(record: dict[str, Any]) -> str:
    name = record["variant"]
    if name.startswith(("plain", "GPipe", "1F1B")):
        return "#E69F00"
    return "#999999" if name.startswith("single") else "#56B4E9"


def table(records: list[dict[str, Any]]) -> str:
    """Medians; what each piece waits and exchanges, as shares of the iteration."""
    lines = [
        "| cut | variant | ms | over alternating | its limit | waits of net1, net2, … "
        "| exchange | over single |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for record in records:
        names = [name for name in record if re.fullmatch(r"net\d+", name)]
        if not names:
            time = f"{record['iteration_ms']:.0f}"
            lines.append(f"| {record['cut']} | single, all cores | {time} ||||||")
            continue
        waits = ", ".join(f"{record[name]['wait_share']:.0%}" for name in names)
        exchanges = ", ".join(f"{record[name]['exchange_share']:.1%}" for name in names)
        gain = f"{record['over_alternating']:.2f}" if "over_alternating" in record else ""
        limit = record.get("limit_over_alternating", "")
        lines.append(
            f"| {record['cut']} | {record['variant']} | {record['iteration_ms']:.0f} | {gain} "
            f"| {limit} | {waits} | {exchanges} | {record.get('over_single', '')} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
