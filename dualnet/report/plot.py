"""Training curves from logs: the loss that counts, the test accuracy, and any other series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dualnet.atomic import write_atomically
from dualnet.errors import StorageFailed, UsageError
from dualnet.report.curves.figure import FORMATS, draw
from dualnet.report.curves.panels import bands
from dualnet.report.runs import Run, read_runs

__all__ = ["plot_runs"]


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

    From the top: the loss of the piece that classifies; the test accuracy; the losses of the pieces
    that learn from the one above them, a small panel for each where there are several; how their
    gradients compare with the back-propagated ones, where that was measured; then each of `series`.
    What no run has is left out.

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
    shown = bands(runs, series)
    if not shown:
        names = ", ".join(str(run.path) for run in runs) or "no runs"
        raise UsageError(f"nothing to draw yet: no losses and no accuracies in {names}")
    legend = [_legend_label(run) for run in runs]
    content = draw(shown, legend, suffix, smooth, log_scale, title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(str(out), content)
    except OSError as error:
        raise StorageFailed(
            f"cannot write the figure {out} ({error.strerror}): free some space, or choose another "
            "-o FILE"
        ) from error
    return legend


def _legend_label(run: Run) -> str:
    _, loss = run.classification_loss()
    if loss.size and not np.isfinite(loss[-1]):
        # No accuracy then: Caffe's Accuracy layer takes scores that are nan for right ones.
        return f"{run.label}: diverged (\u00d7)"
    _, accuracy = run.accuracy()
    if not accuracy.size or not np.isfinite(accuracy[-1]):
        return run.label
    return f"{run.label}: {100 * accuracy[-1]:.1f} %"
