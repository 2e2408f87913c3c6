"""What an experiment came to: a CSV of every run, and a Markdown summary with means and spreads."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from typing import Optional

import numpy as np

from dualnet.experiments.plan import Experiment
from dualnet.experiments.runner import Outcome
from dualnet.report.runs import read_runs
from dualnet.rundir import RunDir

__all__ = ["Row", "measure", "to_csv", "to_markdown"]

#: Earlier versions, with one link only, did not name it.
_EXCHANGED = re.compile(
    r"Exchange(?: over (\S+))?: per iteration, tests included: (\d+) bytes sent .*?(\d+) received"
)


@dataclass(frozen=True)
class Row:
    """One run, measured from its logs.

    Attributes:
        outcome: Which.
        iterations: Completed, or up to the first loss that was NaN or infinite.
        accuracy: Of the last test; None where the run diverged.
        test_loss: Likewise.
        train_loss: Of the classifying net, mean over the last tenth of its lines.
        mib_up: Sent up an iteration over all links, tests included; None for single nets.
        mib_down: Sent down.
        seconds: From the first iteration to the last line.
        extra: The experiment's columns: the last value of each series.
    """

    outcome: Outcome
    iterations: int
    accuracy: Optional[float]
    test_loss: Optional[float]
    train_loss: Optional[float]
    mib_up: Optional[float]
    mib_down: Optional[float]
    seconds: float
    extra: dict[str, Optional[float]]


def measure(experiment: Experiment, outcome: Outcome) -> Row:
    """Read a run's logs."""
    (run,) = read_runs([outcome.run.path])
    is_whole = outcome.diverged_at is None
    iterations, losses = run.classification_loss()
    done = int(iterations[-1]) if len(iterations) else 0
    tail = losses[-max(1, len(losses) // 10) :]
    up, down = _bytes(outcome.run)
    seconds = max((row.seconds for log in run.logs.values() for row in log.train), default=0.0)
    return Row(
        outcome=outcome,
        iterations=outcome.diverged_at if outcome.diverged_at is not None else done,
        accuracy=_last(run.accuracy()) if is_whole else None,
        test_loss=_last(run.series("test:loss")) if is_whole else None,
        train_loss=float(np.mean(tail)) if is_whole and len(tail) else None,
        mib_up=up / 2.0**20 if up is not None else None,
        mib_down=down / 2.0**20 if down is not None else None,
        seconds=seconds,
        extra={name: _last(run.series(name)) for name in experiment.columns},
    )


def to_csv(experiment: Experiment, rows: list[Row]) -> str:
    """Every run on a line."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    fields = ("iterations", "accuracy", "test_loss", "train_loss", "mib_up", "mib_down", "seconds")
    out.writerow(["run", "seed", "diverged_at", *fields, *experiment.columns])
    for row in rows:
        outcome = row.outcome
        diverged_at = "" if outcome.diverged_at is None else outcome.diverged_at
        values = [getattr(row, name) for name in fields] + list(row.extra.values())
        cells = ["" if value is None else f"{value:.6g}" for value in values]
        out.writerow([outcome.variant.name, outcome.seed, diverged_at, *cells])
    return text.getvalue()


def to_markdown(experiment: Experiment, rows: list[Row], command: str) -> str:
    """The question, the table and the figure, for people who browse the repository.

    Args:
        experiment: What was run.
        rows: Its runs.
        command: What makes them again.
    """
    columns = ["run", "accuracy", "test loss", "training loss", "MiB up/down", "seconds"]
    columns += experiment.columns
    lines = [
        f"# {experiment.title}",
        "",
        experiment.question,
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for variant in experiment.variants:
        mine = [row for row in rows if row.outcome.variant.name == variant.name]
        if mine:
            lines.append(f"| {' | '.join(_cells(experiment, mine))} |")
    has_accuracy = any(row.accuracy is not None for row in rows)
    seeds = sorted({row.outcome.seed for row in rows})
    lines += [
        "",
        f"Mean and sample standard deviation over seeds {', '.join(map(str, seeds))}; MiB are what "
        "is sent up and down an iteration, over all links, tests included; seconds are of the "
        "whole run, on a machine that other runs shared. Every run is in `runs.csv`.",
        "",
        "![curves](curves.png)",
        *(["![accuracy](accuracy.png)", "![costs](costs.png)"] if has_accuracy else []),
        "",
        "```",
        command,
        "```",
        "",
        f"`{os.path.join('configs', 'experiments', experiment.name + '.yaml')}` on "
        f"`{experiment.config}`"
        + (f", `{' '.join(experiment.overrides)}`" if experiment.overrides else "")
        + ".",
        "",
    ]
    abouts = [f"- {v.name}: {v.about}" for v in experiment.variants if v.about]
    return "\n".join([*lines, *abouts, ""] if abouts else lines)


def _cells(experiment: Experiment, rows: list[Row]) -> list[str]:
    diverged = [row for row in rows if row.outcome.diverged_at is not None]
    name = rows[0].outcome.variant.name
    traffic = (
        f"{rows[0].mib_up:.2f}/{rows[0].mib_down:.2f}"
        if rows[0].mib_up is not None and rows[0].mib_down is not None
        else ""
    )
    accuracy = _spread([row.accuracy for row in rows], 4)
    if diverged:
        places = ", ".join(str(row.outcome.diverged_at) for row in diverged)
        accuracy = f"{accuracy} diverged ({len(diverged)} of {len(rows)}, at {places})".strip()
    return [
        name,
        accuracy,
        _spread([row.test_loss for row in rows], 3),
        _spread([row.train_loss for row in rows], 3),
        traffic,
        f"{np.mean([row.seconds for row in rows]):.0f}",
        *(_spread([row.extra[column] for row in rows], 3) for column in experiment.columns),
    ]


def _spread(values: list[Optional[float]], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    text = f"{np.mean(known):.{digits}g}" if digits == 3 else f"{np.mean(known):.{digits}f}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):.2g}"
    return text


def _last(points: tuple[np.ndarray, np.ndarray]) -> Optional[float]:
    return float(points[1][-1]) if len(points[1]) else None


def _bytes(run: RunDir) -> tuple[Optional[int], Optional[int]]:
    """Bytes an iteration that go up and down, as the lower pieces' logs say at their ends."""
    up, down = [], []
    for piece in run.logged():
        try:
            with open(piece.log, encoding="utf-8") as file:
                found = _EXCHANGED.findall(file.read())
        except OSError:
            continue
        # A log that restarts have continued says it several times. The link above has the piece's
        # name first.
        own = [counts for link, *counts in found if (link or "net1-").startswith(f"{piece.name}-")]
        if own:
            up.append(int(own[-1][0]))
            down.append(int(own[-1][1]))
    return (sum(up), sum(down)) if up else (None, None)
