#!/usr/bin/env python3
"""Compare the iteration times that `dualnet plan` predicts with those of dual training.

    dualnet data cifar10 --source PATH
    scripts/bench_plan.py [NET.prototxt] [--iterations N] [--rounds N] [--threads N] [-o DIR]

In every round the net is planned, cut and trained at the first cut, planned again, and so on: a
cut's prediction is the mean of the plans before and after its training, so that what else runs on
this machine slows both alike. Leaves plan.json, plan.md and plan.png in DIR
(default results/cut). Exit code 1 if a prediction is more than 25 % off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.report.parse import parse_log  # noqa: E402 (the path has to be set first)
from dualnet.strict_json import to_json  # noqa: E402

NET = "prototxt/cifar10/single_train_test.prototxt"
TOLERANCE = 0.25
#: Iterations before those that count.
WARM_UP = 5


def main() -> int:
    """Run all rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("net", nargs="?", default=NET)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each half")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--only", nargs="+", metavar="BLOB", help="these cuts alone")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/cut"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rounds = []
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-plan-") as scratch:
        for number in range(options.rounds):
            rounds.append(one_round(options, Path(scratch) / str(number)))
            record = summary(options, rounds)  # after each round: the next may be cut short
            (options.output / "plan.json").write_text(to_json(record, indent=1) + "\n")
            (options.output / "plan.md").write_text(table(record))
    print(table(record))
    return int(any(abs(row["ratio"] - 1) > TOLERANCE for row in record["cuts"]))


def one_round(options: argparse.Namespace, scratch: Path) -> dict:
    """Train at each cut, with a plan before and after each."""
    scratch.mkdir()
    before = plan(options, scratch)
    found = {}
    for at, cut in before.items():
        if options.only and at not in options.only:
            continue
        load = os.getloadavg()[0]
        measured_s = train(options, cut, scratch / at)
        after = plan(options, scratch)
        predicted_s = (before[at]["alternating_s"] + after[at]["alternating_s"]) / 2
        found[at] = {
            "dual": cut["dual"], "load": load, "predicted_s": predicted_s, "measured_s": measured_s
        }  # fmt: skip
        print(f"{at}: {predicted_s:.3f} s, {measured_s:.3f} s, load {load:.1f}", file=sys.stderr)
        before = after
    return found


def plan(options: argparse.Namespace, scratch: Path) -> dict:
    """What is predicted now, by cut blob."""
    words = ["--threads", str(options.threads), "--exchange-dir", str(scratch), "--json"]
    words += ["--batch", str(options.batch)] if options.batch else []
    words += ["-o", str(options.output / "plan.png"), "--force"]
    cuts = json.loads(dualnet("plan", options.net, *words))["cuts"]
    return {cut["at"]: cut for cut in cuts}


def train(options: argparse.Namespace, cut: dict, folder: Path) -> float:
    """The median time of an iteration of dual training."""
    nets = folder / "nets"
    dualnet("split", options.net, "--at", cut["at"], "--dual", *cut["dual"], "-o", str(nets))
    settings = [
        f"train.max_iter={WARM_UP + options.iterations}", "train.display=1",
        "train.test_interval=0", f"net1.threads={options.threads}",
        f"net2.threads={options.threads}",
    ]  # fmt: skip
    settings += [f"train.batch_size={options.batch}"] if options.batch else []
    words = [word for setting in settings for word in ("--set", setting)]
    dualnet("train", str(nets / "dual.yaml"), "--run-dir", str(folder / "run"), *words)
    times = [row.seconds for row in parse_log(folder / "run" / "net1.log").rows("train")]
    steps = [after - before for before, after in zip(times, times[1:])]
    return median(steps[WARM_UP:])


def dualnet(*words: str) -> str:
    """Run the command; returns what it printed."""
    command = [sys.executable, "-m", "dualnet", *words]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def summary(options: argparse.Namespace, rounds: list[dict]) -> dict:
    """Medians over the rounds, and the ratio of each round."""
    rows = []
    for at, first in rounds[0].items():
        each = [found[at] for found in rounds]
        predicted, measured, load = (
            median(one[key] for one in each) for key in ("predicted_s", "measured_s", "load")
        )
        ratios = [one["predicted_s"] / one["measured_s"] for one in each]
        rows.append(
            {
                "at": at, "dual": first["dual"], "load": load, "predicted_s": predicted,
                "measured_s": measured, "ratio": median(ratios), "ratios": ratios,
            }
        )  # fmt: skip
    return {
        "net": options.net, "batch": options.batch, "threads": options.threads,
        "iterations": options.iterations, "cores": len(os.sched_getaffinity(0)), "cuts": rows,
        "rounds": rounds,
    }  # fmt: skip


def table(record: dict) -> str:
    """Markdown."""
    lines = [
        f"# Planned against measured: {record['net']}",
        "",
        f"An iteration of the alternating schedule, {record['threads']} thread a half, "
        f"{record['cores']} cores, {len(record['rounds'])} rounds of {record['iterations']} "
        "iterations a cut; load is the machine's load average when a training began. Medians over "
        "the rounds; in brackets the ratio of each round.",
        "",
        "| cut at | dual layers | load | planned | measured | planned / measured |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in record["cuts"]:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        lines.append(
            f"| {row['at']} | {', '.join(row['dual'])} | {row['load']:.0f} "
            f"| {row['predicted_s'] * 1e3:.0f} ms | {row['measured_s'] * 1e3:.0f} ms "
            f"| **{row['ratio']:.2f}** ({each}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
