#!/usr/bin/env python3
"""Compare the iteration times that `dualnet plan` predicts with those of training.

    dualnet data cifar10 --source PATH
    scripts/bench_plan.py [NET.prototxt] [--pieces K …] [--schedules NAME …] [--rounds N] [-o DIR]

In every round the net is measured, cut and trained at the first chain, measured again, and so on: a
chain's prediction is the mean of those before and after its training, so that what else runs on
this machine slows both alike. For each number of pieces the chain that is fastest when overlapped,
whose pieces are nearly equal, is trained under each schedule; with --every-cut each cut in two.
Leaves plan.json, plan.md and plan.png in DIR (default results/cut). Exit code 1 if a prediction is
more than 25 % off.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.cut.plan.chains import chain_of, fastest_chain  # noqa: E402 (the path comes first)
from dualnet.cut.plan.cut_plan import (  # noqa: E402
    SCHEDULES,
    Measured,
    Request,
    make_plan,
    measure,
)
from dualnet.cut.plan.figure import draw_plan  # noqa: E402
from dualnet.report.parse import parse_log  # noqa: E402
from dualnet.strict_json import to_json  # noqa: E402

NET = "prototxt/cifar10/single_train_test.prototxt"
TOLERANCE = 0.25
#: Iterations before those that count.
WARM_UP = 5


class Case(NamedTuple):
    """One training: which chain, under which schedule."""

    schedule: str
    #: Of each cut its blobs and its dual layers.
    cuts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @property
    def pieces(self) -> int:
        """How many there are."""
        return len(self.cuts) + 1

    @property
    def name(self) -> str:
        """In one word."""
        blobs = ", ".join("+".join(at) for at, _ in self.cuts)
        return f"{self.schedule}, {self.pieces} pieces, cut at {blobs}"


def main() -> int:
    """Run all rounds; returns the exit code."""
    options = arguments().parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # read when NumPy and PyTorch are loaded
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    options.output.mkdir(parents=True, exist_ok=True)
    rounds: list[dict[Case, dict]] = []
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-plan-") as scratch:
        for number in range(options.rounds):
            rounds.append(one_round(options, Path(scratch) / str(number), rounds))
            record = summary(options, rounds)  # after each round: the next may be cut short
            (options.output / "plan.json").write_text(to_json(record, indent=1) + "\n")
            (options.output / "plan.md").write_text(table(record))
    print(table(record))
    return int(any(abs(row["ratio"] - 1) > TOLERANCE for row in record["chains"]))


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    # fmt: off
    add = parser.add_argument
    add("net", nargs="?", default=NET, help="prototxt of the uncut net (default: %(default)s)")
    add("--pieces", type=int, nargs="+", default=[2], metavar="K",
        help="of K pieces train the chain that is fastest when overlapped (default: 2)")
    add("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES),
        help="under which each chain is trained (default: all)")
    add("--every-cut", action="store_true", help="train each cut in two instead")
    add("--staleness", type=int, default=1,
        help="of the overlapped schedule (default: %(default)s)")
    add("--micro-batches", type=int, default=4,
        help="of the pipelined schedule (default: %(default)s)")
    add("--micro-batch-order", choices=("1f1b", "gpipe"), default="1f1b",
        help="of the pipelined schedule (default: %(default)s)")
    add("--iterations", type=int, default=30,
        help=f"of each training, after {WARM_UP} that do not count (default: %(default)s)")
    add("--rounds", type=int, default=3,
        help="how often each chain is trained (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each piece (default: %(default)s)")
    add("--batch", type=int, help="images in a batch (default: as the net says)")
    add("--target", choices=("gradient", "backprop"), default="gradient",
        help="as coupling.target (default: %(default)s)")
    add("--carrier", choices=("files", "tcp", "torch"), default="files",
        help="as exchange.carrier (default: %(default)s)")
    add("-o", "--output", type=Path, default=Path("results/cut"), metavar="DIR",
        help="for plan.json, plan.md and plan.png (default: %(default)s)")
    # fmt: on
    return parser


def one_round(options: argparse.Namespace, scratch: Path, earlier: Sequence[dict]) -> dict:
    """Train each chain, measured before and after; later rounds train the first one's chains."""
    scratch.mkdir()
    request = asked(options, scratch)
    before = measure(request)
    found = {}
    cases = list(earlier[0]) if earlier else list(chosen(options, request, before))
    for number, case in enumerate(cases):
        load = os.getloadavg()[0]
        measured_s = train(options, case, scratch / f"{number}")
        after = measure(request)
        predicted_s = (predict(request, before, case) + predict(request, after, case)) / 2
        found[case] = {"load": load, "predicted_s": predicted_s, "measured_s": measured_s}
        print(f"{case.name}: {predicted_s:.3f} s, {measured_s:.3f} s, load {load:.1f}", flush=True)
        before = after
    largest = dataclasses.replace(request, pieces=max(options.pieces))
    draw_plan(make_plan(largest, before), str(options.output / "plan.png"), force=True)
    return found


def asked(options: argparse.Namespace, scratch: Path) -> Request:
    """What is measured: all pieces on this machine."""
    cores = len(os.sched_getaffinity(0))
    return Request(
        options.net,
        threads=options.threads,
        batch=options.batch,
        exchange_dir=str(scratch),
        carrier=options.carrier,
        target=options.target,
        processors=max(1, cores // options.threads),
        staleness=options.staleness,
        micro_batches=options.micro_batches,
        micro_batch_order=options.micro_batch_order,
    )


def chosen(options: argparse.Namespace, request: Request, measured: Measured) -> Iterator[Case]:
    """The chains that are trained."""
    overlapped = measured.settings(request)["overlapped"]
    chains = [(cut,) for cut in measured.cuts]
    if not options.every_cut:
        found = [fastest_chain(measured.cuts, pieces, overlapped) for pieces in options.pieces]
        chains = [chain for chain in found if chain]
    for chain in chains:
        for schedule in options.schedules:
            yield Case(schedule, tuple((tuple(cut.blobs), tuple(cut.dual)) for cut in chain))


def predict(request: Request, measured: Measured, case: Case) -> float:
    """A chain's iteration, in seconds."""
    known = {tuple(cut.blobs): cut for cut in measured.cuts}
    settings = {case.schedule: measured.settings(request)[case.schedule]}
    return chain_of([known[at] for at, _ in case.cuts], settings).outcomes[case.schedule].seconds


def train(options: argparse.Namespace, case: Case, folder: Path) -> float:
    """The median time of an iteration of training."""
    nets = folder / "nets"
    words = [word for at, dual in case.cuts for word in ("--at", *at, "--dual", *dual)]
    dualnet("split", options.net, *words, "--target", options.target, "-o", str(nets))
    ahead = options.staleness * len(case.cuts) if case.schedule == "overlapped" else 0
    train_keys: dict[str, object] = {
        "max_iter": WARM_UP + options.iterations + 2 * ahead, "display": 1, "test_interval": 0,
        "schedule": case.schedule,
    }  # fmt: skip
    if options.batch:
        train_keys["batch_size"] = options.batch
    if case.schedule == "overlapped":
        train_keys["staleness"] = options.staleness
    if case.schedule == "pipelined":
        train_keys["micro_batches"] = options.micro_batches
        train_keys["micro_batch_order"] = options.micro_batch_order
    settings = [f"train.{key}={value}" for key, value in train_keys.items()]
    settings.append(f"exchange.carrier={options.carrier}")
    settings += [f"net{place + 1}.threads={options.threads}" for place in range(case.pieces)]
    words = [word for setting in settings for word in ("--set", setting)]
    dualnet("train", str(nets / "dual.yaml"), "--run-dir", str(folder / "run"), *words)
    times = [row.seconds for row in parse_log(folder / "run" / "net1.log").rows("train")]
    return iteration_s(times, ahead)


def iteration_s(times: Sequence[float], ahead: int) -> float:
    """The median time of an iteration, from when each was shown.

    Args:
        times: In seconds, from the first iteration.
        ahead: Iterations that the first piece is ahead. So many at the beginning and at the end are
            left out, where the chain fills and empties; and so many and one more are counted
            together, as a round trip bounds them together and each may take another time.
    """
    shown = times[WARM_UP + ahead : len(times) - ahead]
    count = ahead + 1
    return median((after - before) / count for before, after in zip(shown, shown[count:]))


def dualnet(*words: str) -> str:
    """Run the command; returns what it printed."""
    command = [sys.executable, "-m", "dualnet", *words]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def summary(options: argparse.Namespace, rounds: Sequence[dict[Case, dict]]) -> dict:
    """Medians over the rounds, and the ratio of each round."""
    rows = []
    for case in rounds[0]:
        each = [found[case] for found in rounds]
        predicted, measured, load = (
            median(one[key] for one in each) for key in ("predicted_s", "measured_s", "load")
        )
        ratios = [one["predicted_s"] / one["measured_s"] for one in each]
        rows.append(
            {
                "schedule": case.schedule, "pieces": case.pieces,
                "at": [list(at) for at, _ in case.cuts],
                "dual": [list(dual) for _, dual in case.cuts], "load": load,
                "predicted_s": predicted, "measured_s": measured, "ratio": median(ratios),
                "ratios": ratios,
            }
        )  # fmt: skip
    return {
        "net": options.net, "batch": options.batch, "threads": options.threads,
        "iterations": options.iterations, "rounds": len(rounds), "staleness": options.staleness,
        "micro_batches": options.micro_batches, "micro_batch_order": options.micro_batch_order,
        "carrier": options.carrier, "target": options.target,
        "cores": len(os.sched_getaffinity(0)), "chains": rows,
    }  # fmt: skip


def table(record: dict) -> str:
    """Markdown."""
    lines = [
        f"# Planned against measured: {record['net']}",
        "",
        f"{record['threads']} thread a piece on {record['cores']} cores, {record['rounds']} rounds "
        f"of {record['iterations']} iterations a chain, target {record['target']}, "
        f"carrier {record['carrier']}, staleness {record['staleness']}, "
        f"{record['micro_batches']} micro-batches in the order {record['micro_batch_order']}; "
        "load is the machine's load average when a training began. Medians over the rounds; in "
        "brackets the ratio of each round.",
        "",
        "| schedule | pieces | cut at | load | planned | measured | planned / measured |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for row in record["chains"]:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        cuts = ", ".join("+".join(at) for at in row["at"])
        lines.append(
            f"| {row['schedule']} | {row['pieces']} | {cuts} | {row['load']:.0f} "
            f"| {row['predicted_s'] * 1e3:.0f} ms | {row['measured_s'] * 1e3:.0f} ms "
            f"| **{row['ratio']:.2f}** ({each}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
