"""Training curves from logs: the loss that counts, the test accuracy, and any other series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dualnet.atomic import write_atomically
from dualnet.errors import StorageFailed, UsageError
from dualnet.report.curves.curve import smoothed
from dualnet.report.curves.figure import FORMATS, Options, draw
from dualnet.report.curves.panels import bands
from dualnet.report.curves.scale import in_words, time_unit
from dualnet.report.labels import in_common, tell_apart
from dualnet.report.runs import Run, read_runs

__all__ = ["X_AXES", "plot_runs"]

#: What the x axis may show.
X_AXES = ("iteration", "time")


def plot_runs(
    run_dirs: Sequence[str | Path],
    out: str | Path,
    smooth: int | None = None,
    log_scale: bool | None = None,
    series: Sequence[str] = (),
    title: str | None = None,
    labels: Sequence[str] | None = None,
    x: str = "iteration",
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
        title: Above everything; by default what all the runs are.
        labels: What to call the runs; by default their names, and what sets their configs apart.
        x: One of `X_AXES`; with "time", that of the training alone: pauses between two starts, and
            iterations that were made again, take none.

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
    shown = bands(runs, series)
    if not shown:
        names = ", ".join(str(run.path) for run in runs) or "no runs"
        raise UsageError(f"nothing to draw yet: no losses and no accuracies in {names}")
    legend = [
        _with_results(run, label, smooth) for run, label in zip(runs, labels or tell_apart(runs))
    ]
    common = in_common(runs) if title is None else title
    options = Options(smooth, log_scale, common)
    if x == "time":
        options = _over_time(runs, options)
    content = draw(shown, legend, suffix, options)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(str(out), content)
    except OSError as error:
        raise StorageFailed(
            f"cannot write the figure {out} ({error.strerror}): free some space, or choose another "
            "-o FILE"
        ) from error
    return legend


def _over_time(runs: Sequence[Run], options: Options) -> Options:
    """The same with times on the x axis, in the unit that suits the longest run."""
    unit, unit_s = time_unit(max(run.duration_s for run in runs))

    def to_x(run: int, iterations: np.ndarray) -> np.ndarray:
        return runs[run].seconds(iterations) / unit_s

    return Options(
        options.smooth, options.log_scale, options.title, f"time of training, {unit}", to_x
    )


def _with_results(run: Run, label: str, smooth: int | None) -> str:
    """A label with what the run came to: the loss at its end, the last and the best accuracy."""
    _, loss = run.classification_loss()
    if loss.size and not np.isfinite(loss[-1]):
        # No accuracy then: Caffe's Accuracy layer takes scores that are nan for right ones.
        return f"{label}: diverged (\u00d7)"
    words = [f"loss {in_words(float(f'{smoothed(loss, smooth)[-1]:.3g}'))}"] if loss.size else []
    iterations, accuracy = run.accuracy()
    if accuracy.size and np.isfinite(accuracy[-1]):
        words.append(f"accuracy {100 * accuracy[-1]:.1f} %")
        best = int(np.nanargmax(accuracy))
        if f"{100 * accuracy[best]:.1f}" != f"{100 * accuracy[-1]:.1f}":
            words.append(f"best {100 * accuracy[best]:.1f} % at {iterations[best]:,}")
    return f"{label}: {', '.join(words)}" if words else label
