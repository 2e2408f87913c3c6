#!/usr/bin/env python3
"""Draw what `dualnet bench exchange` printed, and print it as a table.

Usage: scripts/plot_exchange.py RECORDS.jsonl -o FIGURE.png

Example:
  dualnet bench exchange --carrier files tcp torch > exchange.jsonl
  scripts/plot_exchange.py exchange.jsonl -o exchange.png
"""

from __future__ import annotations

import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    """Read the records, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    times: dict[str, dict[int, tuple[float, float]]] = {}
    with open(options.records, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if "exchange" in record:
                values = record["median_ms"], record["best_ms"]
                times.setdefault(record["exchange"], {})[record["size_mb"]] = values
    draw(times, options.output)
    sizes = sorted(next(iter(times.values())))
    print("| ms one way, median (best) | " + " | ".join(f"{size} MB" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for name, by_size in times.items():
        cells = [f"{by_size[size][0]:.3g} ({by_size[size][1]:.3g})" for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " |")


def draw(times: dict[str, dict[int, tuple[float, float]]], path: str) -> None:
    """Best times over size, both logarithmic; what bounds the carriers is dashed."""
    figure, axes = plt.subplots(figsize=(7, 5))
    for name, by_size in times.items():
        is_floor = name == "copy" or name.startswith("bare")
        axes.plot(
            list(by_size), [best for _, best in by_size.values()],
            linestyle="--" if is_floor else "-", marker=None if is_floor else "o", label=name,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("message, MB")
    axes.set_ylabel("best time one way, ms")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
