"""Writes an experiment's figure, table and summary from the runs that are done."""

from __future__ import annotations

import os

from dualnet.atomic import write_atomically
from dualnet.experiments.figures import draw_accuracies, draw_curves
from dualnet.experiments.plan import Experiment
from dualnet.experiments.runner import outcomes
from dualnet.experiments.summary import measure, to_csv, to_markdown

__all__ = ["write_report"]


def write_report(experiment: Experiment, root: str, directory: str, command: str) -> list[str]:
    """Write README.md, runs.csv, curves.png and accuracy.png into `directory`/NAME.

    Args:
        experiment: What was run.
        root: Directory of all experiments' runs.
        directory: Of all experiments' results.
        command: What makes them again, for the reader.

    Returns:
        The paths; none where no run is done yet.
    """
    done = outcomes(experiment, root)
    if not done:
        return []
    target = os.path.join(directory, experiment.name)
    os.makedirs(target, exist_ok=True)
    rows = [measure(experiment, outcome) for outcome in done]
    paths = [os.path.join(target, name) for name in ("README.md", "runs.csv", "curves.png")]
    write_atomically(paths[0], to_markdown(experiment, rows, command).encode())
    write_atomically(paths[1], to_csv(experiment, rows).encode())
    draw_curves(experiment, done, paths[2])
    if any(row.accuracy is not None for row in rows):
        paths.append(os.path.join(target, "accuracy.png"))
        draw_accuracies(experiment, rows, paths[-1])
    return paths
