"""Writes an experiment's figure, table and summary from the runs that are done."""

from __future__ import annotations

import os
import shutil

from dualnet.atomic import write_atomically
from dualnet.config import load
from dualnet.cut.drawing.draw import load_graphs
from dualnet.experiments.figures import draw_accuracies, draw_costs, draw_curves
from dualnet.experiments.plan import Experiment
from dualnet.experiments.runner import outcomes
from dualnet.experiments.summary import measure, to_csv, to_markdown

__all__ = ["write_report"]


def write_report(experiment: Experiment, root: str, directory: str, command: str) -> list[str]:
    """Write README.md, runs.csv and the figures into `directory`/NAME.

    Args:
        experiment: What was run.
        root: Directory of all experiments' runs.
        directory: Of all experiments' results.
        command: What makes them again, for the reader.

    Returns:
        The paths; none where no run is done yet.
    """
    done = outcomes(experiment, root)
    if not done and not experiment.drawings:
        return []
    target = os.path.join(directory, experiment.name)
    os.makedirs(target, exist_ok=True)
    if not experiment.variants:
        return _draw(experiment, target, command)
    rows = [measure(experiment, outcome) for outcome in done]
    paths = [os.path.join(target, name) for name in ("README.md", "runs.csv", "curves.png")]
    write_atomically(paths[0], to_markdown(experiment, rows, command).encode())
    write_atomically(paths[1], to_csv(experiment, rows).encode())
    draw_curves(experiment, done, paths[2])
    if any(row.accuracy is not None for row in rows):
        for name, draw in (("accuracy.png", draw_accuracies), ("costs.png", draw_costs)):
            paths.append(os.path.join(target, name))
            draw(experiment, rows, paths[-1])
    return paths


def _draw(experiment: Experiment, target: str, command: str) -> list[str]:
    """The pictures of an experiment without runs, which only draws nets."""
    from dualnet.cut.drawing.graphviz import write_drawing

    # Without graphviz the drawings themselves, for whoever has it.
    form = "svg" if shutil.which("dot") else "dot"
    paths = []
    for name, config in experiment.drawings.items():
        paths.append(os.path.join(target, f"{name}.{form}"))
        loaded = load(config)
        write_drawing(load_graphs(loaded), loaded, paths[-1], force=True)
    pictures = [f"![{name}]({name}.{form})" for name in experiment.drawings]
    lines = [f"# {experiment.title}", "", experiment.question, "", *pictures]
    lines += ["", "```", command, "```", ""]
    paths.append(os.path.join(target, "README.md"))
    write_atomically(paths[-1], "\n".join(lines).encode())
    return paths
