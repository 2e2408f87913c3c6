"""An experiment's figures: curves of its first seed, each rule's accuracy, and what it costs."""

from __future__ import annotations

import io
import os
from typing import Any

from dualnet.atomic import write_atomically
from dualnet.experiments.plan import Experiment
from dualnet.experiments.runner import Outcome
from dualnet.experiments.summary import Row
from dualnet.report.curves.looks import COLOURS
from dualnet.report.plot import plot_runs

__all__ = ["draw_accuracies", "draw_costs", "draw_curves"]

_MARKERS = ("o", "s", "^")


def draw_curves(experiment: Experiment, done: list[Outcome], path: str) -> None:
    """Losses, accuracy and the experiment's series of the first seed's runs."""
    first = [outcome for outcome in done if outcome.seed == experiment.seeds[0]]
    plot_runs(
        [outcome.run.path for outcome in first],
        path,
        series=experiment.series,
        log_scale=experiment.logarithmic,
        title=experiment.title,
        labels=[outcome.variant.name for outcome in first],
    )


def draw_accuracies(experiment: Experiment, rows: list[Row], path: str) -> None:
    """A dot for each run's test accuracy, a line of dots for each rule, best rule on top."""
    from matplotlib.figure import Figure

    by_name: dict[str, list[float]] = {}
    for row in rows:
        values = by_name.setdefault(row.outcome.variant.name, [])
        if row.accuracy is not None:
            values.append(row.accuracy)
    ranked = sorted(by_name, key=lambda name: sum(by_name[name]) / max(len(by_name[name]), 1))
    figure = Figure(figsize=(6.8, 0.8 + 0.3 * len(ranked)), dpi=150, constrained_layout=True)
    axis = figure.subplots()
    for place, name in enumerate(ranked):
        values = by_name[name]
        axis.plot(values, [place] * len(values), "o", color="#0072B2", alpha=0.75, markersize=5)
        if values:
            mean = sum(values) / len(values)
            axis.plot([mean], [place], "|", color="#D55E00", markersize=14, markeredgewidth=2)
            axis.annotate(
                f"{100 * mean:.1f} %", (mean, place), xytext=(0, 7), textcoords="offset points",
                ha="center", fontsize=7,
            )  # fmt: skip
        else:
            axis.annotate("diverged", (0.1, place), va="center", fontsize=8)
    axis.set_yticks(range(len(ranked)))
    axis.set_yticklabels(ranked)
    axis.set_xlabel("test accuracy: each run, and the mean")
    axis.grid(axis="x", color="#d9d9d9", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    _save(figure, path)


def draw_costs(experiment: Experiment, rows: list[Row], path: str) -> None:
    """Mean accuracy of each rule over what it costs: MiB an iteration both ways, and seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), dpi=150, constrained_layout=True)
    panels = figure.subplots(1, 2, sharey=True)
    names = [variant.name for variant in experiment.variants]
    for place, name in enumerate(names):
        known = [
            row for row in rows if row.outcome.variant.name == name and row.accuracy is not None
        ]
        if not known:
            continue
        accuracy = sum(100 * (row.accuracy or 0.0) for row in known) / len(known)
        seconds = sum(row.seconds for row in known) / len(known)
        # As in the curves; a further form where colours are used again.
        marker = _MARKERS[place // len(COLOURS) % len(_MARKERS)]
        style: dict[str, Any] = {
            "color": COLOURS[place % len(COLOURS)], "marker": marker, "linestyle": "none",
            "markersize": 6, "label": name,
        }  # fmt: skip
        if known[0].mib_up is not None and known[0].mib_down is not None:
            panels[0].plot([known[0].mib_up + known[0].mib_down], [accuracy], **style)
        panels[1].plot([seconds], [accuracy], **style)
    panels[0].set_xlabel("MiB sent an iteration, both ways, tests included")
    panels[0].set_ylabel("test accuracy, %")
    panels[1].set_xlabel("seconds for the whole run")
    for axis in panels:
        axis.grid(color="#d9d9d9", linewidth=0.6)
        axis.set_xlim(left=0)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    panels[1].legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize=8, frameon=False)
    _save(figure, path)


def _save(figure: Any, path: str) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, picture.getvalue())
