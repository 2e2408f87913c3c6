"""Training curves from logs: the losses of all pieces, the test accuracy, any other series.

Curves keep to colours that colour-blind readers tell apart (Okabe and Ito, "Color Universal
Design", 2008), with a line style of their own as well where there are more runs than colours.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dualnet.atomic import write_atomically
from dualnet.config.chain import SINGLE, number_of
from dualnet.errors import DualnetError, StorageFailed, UsageError
from dualnet.report.runs import PLAIN, Run, read_runs

__all__ = ["FORMATS", "moving_average", "plot_runs"]

FORMATS = ("png", "svg", "pdf")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":")
#: More points than a figure has pixels only make the file larger.
_MOST_POINTS = 4000
#: A loss that spans more than this factor is drawn on a logarithmic axis.
_LOG_SPAN = 100.0
#: What a piece's meter has measured (dualnet/train/gauge/fidelity.py), drawn without being asked
#: for: series to title.
_FIDELITY = {
    "fidelity_cosine": "cosine between its gradient and the back-propagated gradient",
    "fidelity_ratio": "length of its gradient over the back-propagated one's",
}
#: Height of a panel in inches; panels are low where a chain has more than two coupled pieces.
_HEIGHT, _LOW = 2.1, 1.15
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    # The same curves give the same file: no random ids in SVG.
    "svg.hashsalt": "dualnet",
}


class _Panel(NamedTuple):
    title: str
    label: str
    #: Points of each run, in the order of the runs; empty where it has none.
    curves: list[Any]
    is_loss: bool
    is_smoothed: bool = True
    height: float = _HEIGHT


def plot_runs(
    run_dirs: Sequence[str | Path],
    out: str | Path,
    smooth: int | None = None,
    log_scale: bool | None = None,
    series: Sequence[str] = (),
    title: str | None = None,
    labels: Sequence[str] | None = None,
) -> list[str]:
    """Draw the training of one or several runs into one figure.

    Panels, one below the other: the loss of each piece that learns from the one above it; the loss
    of the last piece, or of the single net; the test accuracy; how the gradients compare with the
    back-propagated ones, where that was measured; then each of `series`. Panels without data are
    left out.

    Args:
        run_dirs: Run directories, or single log files, BVLC Caffe's too.
        out: The figure; its suffix says the format. What is there is replaced.
        smooth: Logged points in the moving average that is drawn over the raw values; 1 draws the
            raw values alone, None takes a thirtieth of the curve.
        log_scale: Logarithmic axes for losses; None decides panel by panel.
        series: Further series by name, as "norm", "net1:cosine" or "test:loss" (`Run.series`).
        title: Above everything.
        labels: What to call the runs; by default what sets their configs apart.

    Returns:
        The legend's labels, in the order of the runs.

    Raises:
        UsageError: A path holds no log, the logs hold no such series, or the suffix is unknown.
        StorageFailed: A log cannot be read, or the figure cannot be written.
    """
    out = Path(out)
    suffix = out.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise UsageError(f"{out}: the format {suffix or 'none'} is none of {', '.join(FORMATS)}")
    runs = read_runs(run_dirs)
    for run, label in zip(runs, labels or []):
        run.label = label
    panels = _panels(runs, series)
    if not panels:
        names = ", ".join(str(run.path) for run in runs) or "no runs"
        raise UsageError(f"nothing to draw yet: no losses and no accuracies in {names}")
    legend = [_legend_label(run) for run in runs]
    content = _draw(panels, legend, suffix, smooth, log_scale, title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(str(out), content)
    except OSError as error:
        raise StorageFailed(
            f"cannot write the figure {out} ({error.strerror}): free some space, or choose another "
            "-o FILE"
        ) from error
    return legend


def _panels(runs: list[Run], series: Sequence[str]) -> list[_Panel]:
    coupled = sorted({name for run in runs for name in run.coupled()}, key=number_of)
    height = _HEIGHT if len(coupled) <= 2 else _LOW
    panels = [
        _Panel(
            f"{name}: coupling loss", "loss", [run.coupling_loss(name) for run in runs], True,
            height=height,
        )
        for name in coupled
    ]  # fmt: skip
    panels += [
        _Panel(_loss_title(runs), "loss", [run.classification_loss() for run in runs], True),
        _Panel("Test accuracy", "accuracy", [run.accuracy() for run in runs], False, False),
    ]
    for piece in coupled:
        for output, title in _FIDELITY.items():
            name = f"{piece}:{output}"
            if name not in series:
                curves = [run.series(name) for run in runs]
                label = output.split("_")[-1]
                panels.append(_Panel(f"{piece}: {title}", label, curves, False, False, height))
    for name in series:
        curves = [run.series(name) for run in runs]
        if not any(values.size for _, values in curves):
            known = dict.fromkeys(known for run in runs for known in run.names())
            raise UsageError(f"no log has a series {name}: there are {', '.join(known) or 'none'}")
        is_test = "test" in name.split(":")[:-1]
        panels.append(_Panel(name, name.split(":")[-1], curves, "loss" in name, not is_test))
    return [panel for panel in panels if any(values.size for _, values in panel.curves)]


def _loss_title(runs: list[Run]) -> str:
    """Whose the classification losses are."""
    names = {name for run in runs for name in run.logs if name not in run.coupled()}
    if PLAIN in names or not names:
        return "Training loss"
    words = [*sorted(names - {SINGLE}, key=number_of), *(["single net"] if SINGLE in names else [])]
    title = f"{' and '.join(words)}: classification loss"
    return title[0].upper() + title[1:] if words == ["single net"] else title


def _legend_label(run: Run) -> str:
    _, loss = run.classification_loss()
    if loss.size and not np.isfinite(loss[-1]):
        # No accuracy then: Caffe's Accuracy layer takes scores that are nan for right ones.
        return f"{run.label}: diverged (\u00d7)"
    _, accuracy = run.accuracy()
    if not accuracy.size or not np.isfinite(accuracy[-1]):
        return run.label
    return f"{run.label}: {100 * accuracy[-1]:.1f} %"


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Average each value with its neighbours.

    Args:
        values: (K,) float64; values that are not finite are left out of the averages.
        window: Values in an average, half of them on each side; fewer at both ends.

    Returns:
        (K,) float64; nan where `values` is not finite.
    """
    half = max(0, (window - 1) // 2)
    is_finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_finite)])
    places = np.arange(values.size)
    low = np.maximum(places - half, 0)
    high = np.minimum(places + half + 1, values.size)
    count = np.maximum(counts[high] - counts[low], 1)
    return np.where(is_finite, (sums[high] - sums[low]) / count, np.nan)


def _thin(*arrays: np.ndarray) -> list[np.ndarray]:
    step = -(-arrays[0].size // _MOST_POINTS)
    return [array[::step] for array in arrays]


def _draw(
    panels: list[_Panel],
    labels: list[str],
    suffix: str,
    smooth: int | None,
    log_scale: bool | None,
    title: str | None,
) -> bytes:
    # Late, since it takes a second; without pyplot, which would look for a display.
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except (ImportError, OSError, RuntimeError) as error:
        # Debian's, unpacked elsewhere than to /usr, misses its data with one of the latter two.
        raise DualnetError(
            f"figures need matplotlib, which cannot be imported ({error}): install matplotlib, or "
            "draw with another Python; logs need no Caffe"
        ) from error

    with matplotlib.rc_context(_STYLE):
        columns = max(1, min(len(labels), 100 // (max(map(len, labels)) + 8)))
        rows = -(-len(labels) // columns)
        heights = [panel.height for panel in panels]
        height = 0.7 + 0.19 * rows + sum(heights)
        figure = Figure(figsize=(6.8, height), dpi=150, constrained_layout=True)
        axes = figure.subplots(
            len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        for axis, panel in zip(axes, panels):
            for k, (iterations, values) in enumerate(panel.curves):
                window = smooth if panel.is_smoothed else 1
                _draw_curve(axis, iterations, values, window, _look(k))
            axis.set_title(panel.title, loc="left")
            axis.set_ylabel(panel.label)
            is_accuracy = panel.label == "accuracy" and not panel.is_loss
            # The user's word is about losses; further series, as norms, decide for themselves.
            if not is_accuracy and _wants_log(panel, log_scale if panel.is_loss else None):
                axis.set_yscale("log")
            if is_accuracy:
                axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
        axes[-1].set_xlabel("iteration")
        axes[0].margins(x=0.01)
        _draw_legend(axes[0], labels, columns, heights[0])
        if title:
            figure.suptitle(title, fontsize=11)
        content = io.BytesIO()
        # No dates in the file, so that the same curves give the same file.
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(content, format=suffix, metadata=metadata[suffix])
    return content.getvalue()


def _draw_curve(
    axis: Any, iterations: np.ndarray, values: np.ndarray, smooth: int | None, look: dict[str, Any]
) -> None:
    if not values.size:
        return
    window = max(1, values.size // 30) if smooth is None else smooth
    finite = np.where(np.isfinite(values), values, np.nan)  # inf would leave no room for the rest
    average = moving_average(values, window)
    thin_iterations, thin_finite, thin_average = _thin(iterations, finite, average)
    is_smoothed = window > 2
    if is_smoothed:
        axis.plot(thin_iterations, thin_finite, linewidth=0.7, alpha=0.25, **look)
    shown = thin_average if is_smoothed else thin_finite
    # A single point makes no line.
    marker = "o" if np.count_nonzero(np.isfinite(shown)) < 30 else None
    axis.plot(thin_iterations, shown, linewidth=1.6, marker=marker, markersize=3, **look)
    last = np.flatnonzero(np.isfinite(values))
    if last.size and last[-1] < values.size - 1:  # from there on nan or inf: it has diverged
        axis.plot(
            iterations[last[-1]], average[last[-1]], "X", color=look["color"], markersize=7,
            markeredgecolor="white", markeredgewidth=0.7, zorder=5,
        )  # fmt: skip


def _wants_log(panel: _Panel, log_scale: bool | None) -> bool:
    values = np.concatenate([values for _, values in panel.curves])
    positive = values[np.isfinite(values) & (values > 0)]
    if log_scale is not None:
        return log_scale and positive.size > 0
    # Curves that touch zero, as that of a frozen net, keep the axis on which zero exists.
    everything_positive = positive.size == np.count_nonzero(np.isfinite(values))
    if not everything_positive or not positive.size:
        return False
    return bool(np.log(positive.max()) - np.log(positive.min()) > np.log(_LOG_SPAN))


def _draw_legend(axis: Any, labels: list[str], columns: int, height: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=2, label=name, **_look(k)) for k, name in enumerate(labels)]
    # Above the first panel and its title: nowhere does it hide a curve.
    place = (0.0, 1.0 + 0.34 / height)
    axis.legend(
        handles=handles, loc="lower left", bbox_to_anchor=place, borderaxespad=0.0, ncol=columns
    )


def _look(k: int) -> dict[str, Any]:
    """Colour and line style of run k, the same in every panel."""
    style = _STYLES[k // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[k % len(_COLOURS)], "linestyle": style}
