"""`dualnet experiment`: the thesis's figures and tables, and ours, made again."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

from dualnet.cli.terminal import say
from dualnet.errors import UsageError

__all__ = ["add"]

_EXAMPLES = """examples:
  dualnet experiment list
  dualnet experiment collapse --short        minutes, on the digits
  dualnet experiment rules fidelity          hours, on all of CIFAR-10
  dualnet experiment all --short

Completed runs are skipped: the same command continues an experiment that was stopped. The report is
written from the runs that are complete.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "run the project's experiments, or write their reports again"
    command = commands.add_parser(
        "experiment", help=summary, description=summary, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_experiment)
    command.add_argument("names", nargs="+", metavar="NAME", help="list, all, or names")
    command.add_argument("--short", action="store_true", help="minutes instead of hours")
    command.add_argument("--seeds", metavar="1,2,3", help="run only these seeds")
    command.add_argument(
        "--report", action="store_true", help="run nothing: write the reports from what is there"
    )
    command.add_argument(
        "-o", "--output", metavar="DIR",
        help="directory of the reports (default: results/experiments; --short: runs/short/results)",
    )  # fmt: skip
    command.add_argument(
        "--runs",
        metavar="DIR",
        help="directory of the runs (default: runs/experiments, runs/short)",
    )


def _experiment(options: argparse.Namespace) -> None:
    from dualnet.experiments.plan import load_experiment, names

    if options.names == ["list"]:
        for name in names():
            print(f"{name:16} {load_experiment(name).title}")
        return
    wanted = names() if options.names == ["all"] else options.names
    experiments = [load_experiment(name, options.short) for name in wanted]
    seeds = _seeds(options.seeds)
    runs = options.runs or os.path.join("runs", "short" if options.short else "experiments")
    output = options.output or (
        os.path.join("runs", "short", "results")
        if options.short
        else os.path.join("results", "experiments")
    )
    from dualnet.experiments.report import write_report
    from dualnet.experiments.runner import run_all

    for experiment in experiments:
        command = f"dualnet experiment {experiment.name}{' --short' if options.short else ''}"
        if not options.report:
            part = replace(experiment, seeds=seeds or experiment.seeds)
            run_all(part, runs, say)
        paths = write_report(experiment, runs, output, command)
        say(f"{experiment.name}: {'wrote ' + ', '.join(paths) if paths else 'no run is done yet'}")


def _seeds(text: str | None) -> list[int]:
    try:
        return [int(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"--seeds {text}: expected whole numbers, as 1,2,3") from None
