"""Drawing of training curves with matplotlib: rows of panels, one below the other."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualnet.errors import DualnetError
from dualnet.report.curves.curve import draw_curve
from dualnet.report.curves.looks import looks
from dualnet.report.curves.panels import Band, Panel
from dualnet.report.curves.rows import (
    BETWEEN_IN,
    INNER_IN,
    NOTE_IN,
    TITLE_IN,
    Row,
    make_rows,
    numbered,
)
from dualnet.report.curves.scale import Range, around, choose_range, in_words, set_ticks, wants_log

__all__ = ["FORMATS", "Options", "draw"]

FORMATS = ("png", "svg", "pdf")
#: Raw values are drawn behind the averages of so many curves at most.
_MOST_RAW, _MOST_RAW_SMALL = 6, 3
#: Inches: what is left and right of the axes; a line of the legend; what is below axes, with and
#: without the numbers of the x axis.
_LEFT_IN, _RIGHT_IN = 0.75, 0.15
_WIDTH_IN = _LEFT_IN + INNER_IN + _RIGHT_IN
_LINE_IN, _NUMBERS_IN, _GAP_IN = 0.2, 0.3, 0.12
_QUIET = "#555555"
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


@dataclass(frozen=True)
class Options:
    """How curves are drawn.

    Attributes:
        smooth: Points in a moving average; None takes a thirtieth of the curve.
        log_scale: Logarithmic axes for losses; None decides band by band.
        title: Above everything; "" for none.
        x_label: What stands at the x axis.
        to_x: From a run's number and its iterations to what the x axis shows.
    """

    smooth: int | None = None
    log_scale: bool | None = None
    title: str = ""
    x_label: str = "iteration"
    to_x: Callable[[int, np.ndarray], np.ndarray] = lambda run, iterations: iterations


def draw(bands: Sequence[Band], labels: Sequence[str], suffix: str, options: Options) -> bytes:
    """Draw bands of panels one below the other.

    Args:
        bands: What is drawn.
        labels: The legend: one for each curve of a panel.
        suffix: One of `FORMATS`.
        options: How.

    Returns:
        The file's content.

    Raises:
        DualnetError: matplotlib cannot be imported.
    """
    # Late, since it takes a second; without pyplot, which would look for a display.
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except (ImportError, OSError, RuntimeError) as error:
        # Debian's, unpacked elsewhere than to /usr, misses its data with one of the latter two.
        raise DualnetError(
            f"figures need matplotlib, which cannot be imported ({error}): install matplotlib, or "
            "draw with another Python; logs need no Caffe"
        ) from error

    with matplotlib.rc_context(_STYLE):
        drawing = _Drawing(bands, labels, options, Figure)
        content = io.BytesIO()
        # No dates in the file, so that the same curves give the same file.
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        drawing.figure.savefig(content, format=suffix, metadata=metadata[suffix])
    return content.getvalue()


class _Drawing:
    """A figure in the making, from the top down."""

    def __init__(
        self, bands: Sequence[Band], labels: Sequence[str], options: Options, figure: Any
    ) -> None:
        self.options = options
        judged = [panel.curves for band in bands if band.is_counting for panel in band.panels]
        self.looks = looks(judged, len(labels))
        columns = max(1, min(len(labels), 100 // (max(map(len, labels)) + 8)))
        legend_in = 0.1 + _LINE_IN * -(-len(labels) // columns)
        rows = [row for band in bands for row in make_rows(band)]
        has_numbers = [numbered(row, below) for row, below in zip(rows, [*rows[1:], None])]
        gaps_in = [_NUMBERS_IN if any(places) else _GAP_IN for places in has_numbers]
        total_in = legend_in + sum(row.height_in for row in rows) + sum(gaps_in) + _LINE_IN
        title_in = 0.3 if options.title else 0.0
        self.height_in = total_in + title_in
        self.figure = figure(figsize=(_WIDTH_IN, self.height_in), dpi=150)
        limits, top_in = self.x_limits(bands), total_in - legend_in
        for row, places, gap_in in zip(rows, has_numbers, gaps_in):
            for axis, is_numbered in zip(self.draw_row(row, top_in), places):
                axis.set_xlim(limits)
                set_ticks(axis.xaxis, False, 10 // row.columns, options.x_label == "iteration")
                axis.tick_params(labelbottom=is_numbered)
                if row is rows[-1]:
                    axis.set_xlabel(options.x_label)
            top_in -= row.height_in + gap_in
        self.draw_legend(labels, columns, total_in)
        if options.title:
            place = (total_in + 0.1) / self.height_in
            self.figure.suptitle(options.title, fontsize=11, y=place, va="bottom")

    def x_limits(self, bands: Sequence[Band]) -> Range:
        """What every x axis shows."""
        curves = [
            self.options.to_x(run, points[0])
            for band in bands
            for panel in band.panels
            for run, points in enumerate(panel.curves)
        ]
        return around(np.concatenate(curves), 0.01)

    def draw_row(self, row: Row, top_in: float) -> list[Any]:
        """Draw a row below a height above the figure's lower edge; returns its axes."""
        band, width_in = row.band, row.width_in
        is_log = not band.is_accuracy and self.wants_log(band)
        bottom = (top_in - row.height_in) / self.height_in
        axes = []
        for place, panel in enumerate(row.panels):
            left_in = _LEFT_IN + place * (width_in + BETWEEN_IN)
            size = (width_in / _WIDTH_IN, row.axes_in / self.height_in)
            axis = self.figure.add_axes((left_in / _WIDTH_IN, bottom, *size))
            self.draw_panel(axis, row, panel, is_log)
            axes.append(axis)
        self.draw_heading(row, top_in)
        axes[0].set_ylabel(band.label)
        axes[0].yaxis.set_label_coords((0.15 - _LEFT_IN) / width_in, 0.5)
        return axes

    def wants_log(self, band: Band) -> bool:
        """Whether a band's panels get logarithmic axes: all of them do, or none."""
        # The user's word is about losses; further series, as norms, decide for themselves.
        log_scale = self.options.log_scale if band.is_loss else None
        if log_scale is None and not (_finite(band.panels) > 0).all():
            return False
        each = [[values for _, values in panel.curves] for panel in band.panels]
        return any(wants_log(curves, log_scale) for curves in each)

    def draw_heading(self, row: Row, top_in: float) -> None:
        """A band's title and note, above the titles of its panels."""
        if not row.is_first:
            return
        left, band = _LEFT_IN / _WIDTH_IN, row.band
        if band.title:
            top_in -= TITLE_IN
            self.figure.text(
                left, top_in / self.height_in, band.title, fontsize=10, fontweight="bold",
                va="bottom",
            )  # fmt: skip
        else:
            top_in -= TITLE_IN  # that of the only panel stands there
        if band.note:
            top_in -= NOTE_IN
            up_in = 0.0 if band.title else 0.03
            self.figure.text(
                left, (top_in + up_in) / self.height_in, band.note, fontsize=8, color=_QUIET,
                va="bottom",
            )  # fmt: skip

    def draw_panel(self, axis: Any, row: Row, panel: Panel, is_log: bool) -> None:
        """Draw the curves of a panel, and set its vertical axis."""
        from matplotlib.ticker import FuncFormatter

        band, is_small = row.band, row.columns > 1
        values = [points[1] for points in panel.curves]
        limits = choose_range(values, is_log)
        if is_log:
            axis.set_yscale("log")
        is_raw_shown = sum(one.size > 0 for one in values) <= (
            _MOST_RAW_SMALL if is_small else _MOST_RAW
        )
        for run, (iterations, one) in enumerate(panel.curves):
            style = dict(self.looks[run])
            style["linewidth"] *= 0.7 if is_small else 1.0
            smooth = self.options.smooth if band.is_smoothed else 1
            x = self.options.to_x(run, iterations)
            draw_curve(axis, x, one, smooth, style, is_raw_shown, limits)
        if limits is not None:
            axis.set_ylim(limits)
            self.note_farthest(axis, values, limits)
        elif is_small and not band.is_loss:  # losses of pieces are each of another scale
            axis.set_ylim(around(_finite(band.panels)))
        set_ticks(axis.yaxis, is_log, 4 if is_small else 6)
        if band.is_accuracy:
            axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.4g} %"))
        # Room for the note below the title of an only panel.
        note_in = NOTE_IN if band.note and not band.title else 0.0
        axis.set_title(panel.title, loc="left", pad=6.0 + 72 * note_in)
        if is_small:
            axis.set_title(panel.title, loc="left", fontweight="normal", fontsize=9)
            axis.tick_params(which="both", labelsize=7)

    def note_farthest(self, axis: Any, values: Sequence[np.ndarray], limits: Range) -> None:
        """Say what the triangles mean."""
        all_ = np.concatenate(values)
        all_ = all_[np.isfinite(all_)]
        words = [f"\u25b2 up to {in_words(float(all_.max()))}"] if all_.max() > limits[1] else []
        words += [f"\u25bc down to {in_words(float(all_.min()))}"] if all_.min() < limits[0] else []
        axis.set_title(", ".join(words), loc="right", fontsize=7, fontweight="normal", color=_QUIET)

    def draw_legend(self, labels: Sequence[str], columns: int, top_in: float) -> None:
        """Above the first panel and its title: nowhere does it hide a curve."""
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], label=name, **one) for name, one in zip(labels, self.looks)]
        place = (_LEFT_IN / _WIDTH_IN, (top_in - 0.05) / self.height_in)
        self.figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=place, borderaxespad=0.0,
            borderpad=0.0, ncol=columns, handlelength=2.8,
        )  # fmt: skip


def _finite(panels: Sequence[Panel]) -> np.ndarray:
    """Every value in them that is a finite number: (K,) float64."""
    values = np.concatenate([values for panel in panels for _, values in panel.curves])
    return values[np.isfinite(values)]
