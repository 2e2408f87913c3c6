"""A plan as a picture: for each cut, where the time of an iteration goes, and the memory."""

from __future__ import annotations

import io
import os
from typing import Any

from dualnet.atomic import write_atomically
from dualnet.cut.plan.choice import Plan
from dualnet.cut.plan.estimate import Estimate
from dualnet.cut.plan.table import name_of
from dualnet.errors import StorageFailed, UsageError

__all__ = ["FORMATS", "check_output", "draw_plan"]

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's colours, which colour-blind readers tell apart.
_NET1, _NET2, _EXCHANGE, _BEST = "#56B4E9", "#E69F00", "#999999", "#009E73"
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dualnet",
}
_MIB = 2.0**20


def check_output(path: str, force: bool = False) -> str:
    """Refuse a path that could not be drawn to, before much time is spent.

    Returns:
        The format.

    Raises:
        UsageError: The format is unknown, or the file is there and `force` is not given.
    """
    form = os.path.splitext(path)[1][1:].lower()
    if form not in FORMATS:
        raise UsageError(f"{path}: valid formats are {', '.join(FORMATS)}; end the name in one")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already: give --force to replace it")
    return form


def draw_plan(plan: Plan, path: str, force: bool = False) -> None:
    """Draw a plan.

    Args:
        plan: What was found; one cut at least.
        path: The figure; its suffix says the format.
        force: Replace a file that is there.

    Raises:
        UsageError: The format is unknown, the file is there, or there is nothing to draw.
        StorageFailed: It cannot be written.
    """
    form = check_output(path, force)
    if not plan.cuts:
        raise UsageError(f"{path}: nothing to draw, {plan.reason}")
    try:
        write_atomically(path, _figure(plan, form))
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write the figure: {error.strerror}; choose another -o FILE"
        ) from error


def _figure(plan: Plan, form: str) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(_STYLE):
        height = 1.6 + 0.42 * len(plan.cuts)
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.0, height), sharey=True, constrained_layout=True,
            gridspec_kw={"width_ratios": [3, 2]},
        )  # fmt: skip
        _draw_times(left, plan)
        _draw_memory(right, plan)
        names = [name_of(cut) for cut in plan.cuts]
        left.set_yticks(range(len(names)))
        left.set_yticklabels(names)
        left.set_ylim(len(names) - 0.4, -0.6)  # the data end on top
        for label, cut in zip(left.get_yticklabels(), plan.cuts):
            if cut is plan.best:
                label.set_color(_BEST)
                label.set_fontweight("bold")
        left.set_ylabel("cut at (recommended: bold)")
        left.grid(axis="y", visible=False)
        right.grid(axis="y", visible=False)
        figure.suptitle(f"{plan.name}, batches of {plan.batch}", fontsize=10, fontweight="bold")
        image = io.BytesIO()
        figure.savefig(image, format=form, dpi=150)
        plt.close(figure)
    return image.getvalue()


def _draw_times(axes: Any, plan: Plan) -> None:
    """One bar an iteration of the alternating schedule; a mark where the overlapped one ends."""
    parts = [_parts(cut, plan.request.shared) for cut in plan.cuts]
    start = [0.0] * len(parts)
    waiting = "net2" if plan.request.shared else "net2, net1 waits"
    labels = (("net1", _NET1), (waiting, _NET2), ("exchange", _EXCHANGE))
    for i, (label, colour) in enumerate(labels):
        widths = [1e3 * part[i] for part in parts]
        axes.barh(range(len(parts)), widths, 0.6, left=start, color=colour, label=label)
        start = [a + b for a, b in zip(start, widths)]
    if not plan.request.shared:
        ends = [1e3 * cut.overlapped_s for cut in plan.cuts]
        axes.plot(ends, range(len(ends)), "d", color="black", markersize=5, label="overlapped")
    axes.axvline(1e3 * plan.single.seconds, color="black", linewidth=0.9, linestyle="--")
    axes.set_xlim(0, 1.05 * max(*start, 1e3 * plan.single.seconds))
    axes.set_xlabel("an iteration, ms (dashed: single net)")
    axes.legend(fontsize=8, ncol=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0),
                handlelength=1.2, columnspacing=1.0)  # fmt: skip


def _parts(cut: Estimate, shared: bool) -> tuple[float, float, float]:
    """net1, net2 and exchange of an iteration, which add up to it."""
    net1, net2 = cut.net1.seconds, cut.net2.seconds
    if not shared:
        # net1's dual layers and net2's update happen while the other half is at work.
        net2 = cut.net2.forward_s + cut.net2.backward_s
        net1 = min(net1, cut.alternating_s - net2)
    return net1, net2, max(0.0, cut.alternating_s - net1 - net2)


def _draw_memory(axes: Any, plan: Plan) -> None:
    rows = range(len(plan.cuts))
    for offset, label, colour in ((-0.16, "net1", _NET1), (0.16, "net2", _NET2)):
        sizes = [getattr(cut, label).memory_bytes / _MIB for cut in plan.cuts]
        axes.barh([row + offset for row in rows], sizes, 0.3, color=colour, label=label)
    axes.axvline(plan.single.memory_bytes / _MIB, color="black", linewidth=0.9, linestyle="--")
    axes.set_xlabel("memory, MiB (dashed: single net)")
