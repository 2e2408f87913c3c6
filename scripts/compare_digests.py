#!/usr/bin/env python3
"""Train with two checkouts and compare what comes out, bit for bit: `dualnet digest` of each.

    scripts/compare_digests.py BEFORE [--after DIR] [--config FILE …] [--iterations N]
                               [--provider engine|bvlc] [--only TEXT] [--jobs N] [-o FILE.md]

BEFORE is another checkout of this repository (`git worktree add /tmp/before COMMIT`). A change that
must not change what is trained, as a redesign or a mend around the loop, gives equal digests in
every row: schedules, ties, targets, update rules and carriers, for each config. Data sets are taken
from data/ of the checkout to test; `dualnet data NAME` writes them. The rows of admm need the
alternating schedule, those of tcp and torch a free port. Exit code 1 if a digest differs or a
training fails in one checkout alone.

Examples:
    scripts/compare_digests.py /tmp/before --config configs/digits.yaml --iterations 20
    scripts/compare_digests.py /tmp/before --provider bvlc --only gradient
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
AHEAD = ("train.schedule=overlapped", "train.staleness=2")
#: Name to what is set beside the config.
RULES: dict[str, tuple[str, ...]] = {
    "alternating": (),
    "overlapped": AHEAD,
    "overlapped, recomputed": (*AHEAD, "train.stale_activations=recompute"),
    "tie every": ("coupling.tie=every", "coupling.target=updated"),
    "tie never": ("coupling.tie=never",),
    "prox": ("coupling.target=prox",),
    "prox, overlapped": ("coupling.target=prox", *AHEAD),
    "admm": ("coupling.target=admm",),
    "backprop": ("coupling.target=backprop",),
    "frozen": ("coupling.target=frozen",),
    "activation, normalized": ("coupling.target=activation", "coupling.loss=normalized"),
    "relative": ("coupling.loss=relative",),
    "manual": ("update.rule=manual", "update.learning_rate=0.01"),
    "tcp": ("exchange.carrier=tcp",),
    "tcp, overlapped": ("exchange.carrier=tcp", *AHEAD),
    "torch": ("exchange.carrier=torch",),
    "int8 with feedback": ("exchange.dtype=int8", "exchange.error_feedback=true"),
    "local steps": ("train.local_steps=2",),
    "single": (),
}


class Row(NamedTuple):
    """One training in both checkouts: digests, or the last line of what failed."""

    config: str
    rule: str
    before: str
    after: str


def main() -> int:
    """Compares all, prints a line each and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--after", type=Path, default=ROOT, help="the one to test (this one)")
    parser.add_argument("--config", action="append", help="default: digits and cifar10")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--provider", choices=("engine", "bvlc"), default="engine")
    parser.add_argument("--only", default="", help="rules whose name has this in it")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("-o", "--output", type=Path, help="where to write the table")
    options = parser.parse_args()
    configs = options.config or ["configs/digits.yaml", "configs/cifar10.yaml"]
    cases = [(config, rule) for config in configs for rule in RULES if options.only in rule]

    def compare(case: tuple[str, str]) -> Row:
        found = [train(folder.resolve(), *case, options) for folder in
                 (options.before, options.after)]  # fmt: skip
        row = Row(*case, *found)
        print(f"{row.config}, {rule_of(row)}: {verdict(row)}", flush=True)
        return row

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(compare, cases))
    equal = sum(verdict(row) == "equal" for row in rows)
    print(f"{equal} of {len(rows)} equal")
    if options.output:
        options.output.write_text(table(rows, options.iterations), encoding="utf-8")
    return 0 if all(row.before == row.after or both_failed(row) for row in rows) else 1


def train(checkout: Path, config: str, rule: str, options: argparse.Namespace) -> str:
    """Train in a folder of its own, as a user would; the digest, or the line that says why not."""
    python = os.environ.get("DUALNET_PYTHON", sys.executable)
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "DUALNET_CAFFE": options.provider,
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("configs", "prototxt"):
            os.symlink(checkout / name, os.path.join(scratch, name))
        os.symlink(options.after.resolve() / "data", os.path.join(scratch, "data"))
        settings = (f"train.max_iter={options.iterations}", "train.test_iter=1", *RULES[rule])
        command = [python, "-m", "dualnet", "single" if rule == "single" else "train", config,
                   "--run-dir", "run"]  # fmt: skip
        for setting in settings:
            command += ["--set", setting]
        for words in (command, [python, "-m", "dualnet", "digest", "run"]):
            done = subprocess.run(
                words, cwd=scratch, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                said = (done.stderr.strip() or "no output").splitlines()[-1]
                return f"exit code {done.returncode}: {said}"
        return done.stdout.strip()


def both_failed(row: Row) -> bool:
    """Whether neither checkout trains it: nothing to compare, and nothing lost."""
    return row.before.startswith("exit code") and row.after.startswith("exit code")


def verdict(row: Row) -> str:
    """In a word or a line."""
    if both_failed(row):
        return f"refused by both ({row.after})"
    return "equal" if row.before == row.after else f"{row.before} before, {row.after} now"


def rule_of(row: Row) -> str:
    """The rule with what it sets."""
    return f"{row.rule} ({' '.join(RULES[row.rule])})" if RULES[row.rule] else row.rule


def table(rows: list[Row], iterations: int) -> str:
    """The rows in Markdown."""
    lines = [f"{iterations} iterations each.", "", "| config | rule | digest |", "|---|---|---|"]
    for row in rows:
        digest = f"`{row.after[:16]}…`, equal" if row.before == row.after else verdict(row)
        lines.append(f"| {row.config} | {row.rule} | {digest} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
