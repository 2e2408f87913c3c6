"""A plan as a picture: an iteration of each schedule's best chain, and the memory of its pieces.

For two pieces every cut is shown below, with the time of an iteration and the memory of both.
"""

from __future__ import annotations

import io
import os
from typing import Any

from dualnet.atomic import write_atomically
from dualnet.cut.plan.chains import Chain, Outcome
from dualnet.cut.plan.cut_plan import CutPlan
from dualnet.cut.plan.table import joined, name_of
from dualnet.cut.plan.units import ms
from dualnet.errors import StorageFailed, UsageError

__all__ = ["FORMATS", "check_output", "draw_plan"]

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's colours, which colour-blind readers tell apart.
_FORWARD, _BACKWARD, _UPDATE, _EXCHANGE = "#56B4E9", "#E69F00", "#009E73", "#999999"
_KINDS = {
    "forward": ("forward", _FORWARD), "dual": ("forward of the copied layers", "#A8D8F5"),
    "backward": ("backward", _BACKWARD), "update": ("update", _UPDATE),
    "send": ("send, receive", _EXCHANGE), "receive": ("", _EXCHANGE),
}  # fmt: skip
_SCHEDULE_COLOURS = ("#0072B2", "#D55E00", "#CC79A7")
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


def draw_plan(plan: CutPlan, path: str, force: bool = False) -> None:
    """Draw a plan.

    Args:
        plan: What was found; one chain at least.
        path: The figure; its suffix says the format.
        force: Replace a file that is there.

    Raises:
        UsageError: The format is unknown, the file is there, or there is nothing to draw.
        StorageFailed: It cannot be written.
    """
    form = check_output(path, force)
    if not any(choice.chain for choice in plan.choices.values()):
        raise UsageError(f"{path}: nothing to draw: {plan.choice.reason}")
    try:
        write_atomically(path, _figure(plan, form))
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write the figure: {error.strerror}; choose another -o FILE"
        ) from error


def _figure(plan: CutPlan, form: str) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    played = [
        (name, choice.chain) for name, choice in plan.choices.items() if choice.chain is not None
    ]
    heights = [0.9 + 0.32 * plan.request.pieces for _ in played]
    if plan.request.pieces == 2:
        heights.append(1.2 + 0.42 * len(plan.cuts))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(heights), 2, figsize=(10.0, 0.6 + sum(heights)), constrained_layout=True,
            squeeze=False, gridspec_kw={"width_ratios": [3, 1], "height_ratios": heights},
        )  # fmt: skip
        longest_s = max(plan.single.seconds, *(c.outcomes[name].seconds for name, c in played))
        for row, (name, chain) in zip(axes, played):
            _draw_iteration(row[0], plan, name, chain, longest_s)
            _draw_pieces_memory(row[1], plan, chain.outcomes[name], chain.names)
        axes[0][0].legend(fontsize=8, ncol=5, loc="lower left", bbox_to_anchor=(-0.02, 1.18),
                          handlelength=1.2, columnspacing=1.0)  # fmt: skip
        if plan.request.pieces == 2:
            _draw_cuts(axes[-1][0], axes[-1][1], plan)
        name, batch = plan.measured.name, plan.measured.batch
        figure.suptitle(
            f"{name} in {plan.request.pieces} pieces, batches of {batch}",
            fontsize=10, fontweight="bold",
        )  # fmt: skip
        image = io.BytesIO()
        figure.savefig(image, format=form, dpi=150)
        plt.close(figure)
    return image.getvalue()


def _draw_iteration(axes: Any, plan: CutPlan, name: str, chain: Chain, longest_s: float) -> None:
    """What each piece does in one iteration, from an update of the first piece to its next."""
    outcome = chain.outcomes[name]
    start_s = outcome.iteration.start_s
    end_s = start_s + outcome.seconds
    for kind, (label, colour) in _KINDS.items():
        spans = [span for span in outcome.iteration.spans if span.kind == kind]
        shown = [
            (span.piece, max(span.start_s, start_s) - start_s, min(span.end_s, end_s) - start_s)
            for span in spans
            if span.start_s < end_s and span.end_s > start_s
        ]
        axes.barh(
            [place for place, _, _ in shown], [1e3 * (end - start) for _, start, end in shown], 0.7,
            left=[1e3 * start for _, start, _ in shown], color=colour, label=label or "_",
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
    axes.axvline(1e3 * plan.single.seconds, color="black", linewidth=0.9, linestyle="--")
    _name_rows(axes, chain.names)
    axes.set_xlim(0, 1.05e3 * longest_s)
    cuts = ", ".join(joined(cut.blobs) for cut in chain.cuts)
    helps = "" if plan.choices[name].helps else "; the single net is better"
    speed = plan.single.seconds / outcome.seconds
    title = f"{name}, cut at {cuts}: {ms(outcome.seconds)} ms, {speed:.2f} x single{helps}"
    axes.set_title(title, loc="left", fontsize=9, color="black" if not helps else "#777777")
    axes.set_xlabel("an iteration, ms (dashed: single net)")


def _draw_pieces_memory(axes: Any, plan: CutPlan, outcome: Outcome, names: list[str]) -> None:
    axes.barh(
        range(len(names)), [size / _MIB for size in outcome.memory_bytes], 0.7, color="#BBBBBB"
    )
    axes.axvline(plan.single.memory_bytes / _MIB, color="black", linewidth=0.9, linestyle="--")
    if plan.request.limit_bytes is not None:
        axes.axvline(plan.request.limit_bytes / _MIB, color="#D55E00", linewidth=0.9)
    _name_rows(axes, names)
    axes.set_xlabel("memory, MiB")


def _draw_cuts(left: Any, right: Any, plan: CutPlan) -> None:
    """Every cut in two: an iteration of each schedule, and the memory of both pieces."""
    rows = range(len(plan.cuts))
    for i, (name, colour) in enumerate(zip(plan.choices, _SCHEDULE_COLOURS)):
        times = [1e3 * chain.outcomes[name].seconds for chain in plan.cuts]
        left.plot(times, [row + 0.2 * (i - 1) for row in rows], "o", color=colour, label=name)
    left.axvline(1e3 * plan.single.seconds, color="black", linewidth=0.9, linestyle="--")
    left.set_xlim(left=0)
    left.set_xlabel("an iteration, ms (recommended cut: bold)")
    left.legend(fontsize=8, ncol=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    for offset, place, colour in ((-0.16, 0, _FORWARD), (0.16, 1, _BACKWARD)):
        sizes = [chain.outcomes["alternating"].memory_bytes[place] / _MIB for chain in plan.cuts]
        right.barh(
            [row + offset for row in rows], sizes, 0.3, color=colour, label=f"net{place + 1}"
        )
    right.axvline(plan.single.memory_bytes / _MIB, color="black", linewidth=0.9, linestyle="--")
    right.set_xlabel("memory, MiB")
    right.legend(fontsize=8, ncol=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    for axes in (left, right):
        _name_rows(axes, [name_of(chain.cuts[0]) for chain in plan.cuts])
    for label, chain in zip(left.get_yticklabels(), plan.cuts):
        if plan.best is not None and chain.cuts == plan.best.cuts:
            label.set_fontweight("bold")


def _name_rows(axes: Any, names: list[str]) -> None:
    """The data end on top."""
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
