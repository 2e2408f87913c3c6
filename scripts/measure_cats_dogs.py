#!/usr/bin/env python3
"""Train the cats-and-dogs nets for some iterations, measure each process's memory, draw both.

    dualnet data cats-dogs --source PATH
    scripts/measure_cats_dogs.py [--iterations N] [-o DIR] [--run-dir DIR]

The single net, then net1 and net2, each in a process with one thread, from the same weights. Leaves
figures.png and measured.json in DIR (default results/cats_dogs). Memory is the largest resident set
of each process while it trains; `bare` is that of a process that only imports what they import.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib

from dualnet.report.parse import parse_log
from dualnet.strict_json import to_json

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONFIG = "configs/cats_dogs.yaml"
BARE = "from dualnet.backend import caffe; import dualnet.training.start.run"
COLOURS = {"single": "#0072B2", "net1": "#E69F00", "net2": "#D55E00"}


def main() -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/cats_dogs"))
    parser.add_argument("--run-dir", type=Path, help="keep the runs here")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = options.run_dir or Path(scratch)
        measured = measure(base, options.iterations, options.set)
        options.output.mkdir(parents=True, exist_ok=True)
        losses = {
            "single": curve(base / "single" / "single.log"),
            "net2": curve(base / "dual" / "net2.log"),
            "net1": curve(base / "dual" / "net1.log"),
        }
    for name, values in losses.items():
        tenth = max(1, len(values) // 10)
        measured[f"{name}_loss_first_tenth"] = round(sum(values[:tenth]) / tenth, 4)
        measured[f"{name}_loss_last_tenth"] = round(sum(values[-tenth:]) / tenth, 4)
    draw(losses, measured["peak_mib"], options.output / "figures.png")
    text = to_json(measured, indent=2) + "\n"
    (options.output / "measured.json").write_text(text)
    print(text, end="")
    return 0


def measure(base: Path, iterations: int, more: list[str]) -> dict:
    """Train single and dual below `base`; returns what was measured."""
    dualnet = [sys.executable, "-m", "dualnet"]
    short = [f"train.max_iter={iterations}", "train.display=1", "train.test_interval=0"]
    short += [f"{name}.threads=1" for name in COLOURS] + more
    start = str(base / "start")
    wait({"init": spawn([*dualnet, "init", CONFIG, "net1", "net2", "-o", start])})
    weights = ",".join(f"{start}/{name}.caffemodel" for name in ("net1", "net2"))
    options = [word for setting in short for word in ("--set", setting)]
    options += ["--set", f"train.weights=[{weights}]"]
    peak = wait({"bare": spawn([sys.executable, "-c", BARE])})
    seconds = {}
    for names, run_dir in ((["single"], "single"), (["net1", "net2"], "dual")):
        began = time.monotonic()
        processes = {
            name: spawn([*dualnet, name, CONFIG, "--run-dir", str(base / run_dir), *options])
            for name in names
        }
        peak.update(watch(processes, base / run_dir, iterations))
        seconds[run_dir] = round(time.monotonic() - began, 1)
    return {"iterations": iterations, "peak_mib": peak, "seconds": seconds, "settings": short}


def spawn(command: list[str]) -> int:
    """Start a process; returns its number."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return os.posix_spawnp(command[0], command, environment)


def watch(processes: dict[str, int], run_dir: Path, iterations: int) -> dict[str, float]:
    """The largest resident set of each process while it trains, in MiB.

    Reading the first weights and writing the last take memory, too: the system's record is cleared
    after the second iteration and read before the last.
    """
    peak: dict[str, float] = {}
    cleared: set[str] = set()
    while len(peak) < len(processes):
        time.sleep(0.1)
        for name, number in processes.items():
            done = iteration_of(run_dir / f"{name}.log")
            if done >= 2 and name not in cleared:
                Path(f"/proc/{number}/clear_refs").write_text("5")
                cleared.add(name)
            if done >= iterations - 2 and name not in peak:
                status = Path(f"/proc/{number}/status").read_text()
                peak[name] = round(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024, 1)
            if os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) and (
                name not in peak
            ):
                raise SystemExit(f"{name} ended before iteration {iterations - 2}")
    wait(processes)
    return peak


def iteration_of(log: Path) -> int:
    """The last iteration in a log that is being written; -1 before the first."""
    try:
        found = re.findall(r"Iteration (\d+) \(", log.read_text())
    except OSError:
        return -1
    return int(found[-1]) if found else -1


def wait(processes: dict[str, int]) -> dict[str, float]:
    """The largest resident set of each process, in MiB, once all have ended well."""
    peak = {}
    for name, number in processes.items():
        _, status, usage = os.wait4(number, 0)
        if status:
            raise SystemExit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
        peak[name] = round(usage.ru_maxrss / 1024, 1)  # Linux counts in KiB
    return peak


def curve(log: Path) -> list[float]:
    """The loss of each iteration."""
    return [row.loss for row in parse_log(log).rows("train") if row.loss is not None]


def draw(losses: dict[str, list[float]], peak: dict[str, float], path: Path) -> None:
    """Loss curves beside memory."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.4, 3.2), gridspec_kw={"width_ratios": [2, 1]}, layout="constrained"
    )
    left.plot(losses["single"], color=COLOURS["single"], label="single net", linewidth=2.4)
    left.plot(losses["net2"], color=COLOURS["net2"], label="dual net (net2)", linestyle="--")
    left.axhline(0.6931, color="#999999", linewidth=0.8, label="chance, ln 2")
    left.set(xlabel="iteration", ylabel="classification loss")
    left.legend(frameon=False)
    names = ["single", "net1", "net2"]
    own = [peak[name] - peak["bare"] for name in names]
    right.bar(names, [peak["bare"]] * 3, color="#cccccc", label="interpreter and libraries")
    right.bar(names, own, bottom=peak["bare"], color=[COLOURS[name] for name in names])
    for i, name in enumerate(names):
        right.annotate(f"{peak[name]:.0f}", (i, peak[name]), ha="center", va="bottom", fontsize=8)
    right.set(ylabel="peak memory of the process, MiB", ylim=(0, 1.3 * max(peak.values())))
    right.legend(frameon=False, fontsize=8, loc="upper right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(str(path), dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
