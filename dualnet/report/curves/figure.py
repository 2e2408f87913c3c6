"""Drawing of training curves with matplotlib: rows of panels, one below the other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dualnet.errors import DualnetError
from dualnet.report.curves.curve import draw_curve, line_style
from dualnet.report.curves.panels import Band, Panel

__all__ = ["FORMATS", "draw"]

FORMATS = ("png", "svg", "pdf")
#: A loss that spans more than this factor is drawn on a logarithmic axis.
_LOG_SPAN = 100.0
#: Raw values are drawn behind the averages of so many curves at most.
_MOST_RAW, _MOST_RAW_SMALL = 6, 3
#: Small panels beside each other, at most.
_MOST_COLUMNS = 4
#: Inches: the figure's width, what is left and right of the axes and between them; the axes' height
#: across the figure and in small panels; titles, text in the legend, and what is below axes, with
#: and without the numbers of iterations.
_WIDTH_IN, _LEFT_IN, _RIGHT_IN, _BETWEEN_IN = 6.8, 0.75, 0.15, 0.5
_AXES_IN, _SMALL_AXES_IN = 1.7, 1.0
_TITLE_IN, _LINE_IN, _NUMBERS_IN, _GAP_IN = 0.25, 0.2, 0.3, 0.12
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


def draw(
    bands: Sequence[Band],
    labels: Sequence[str],
    suffix: str,
    smooth: int | None = None,
    log_scale: bool | None = None,
    title: str | None = None,
) -> bytes:
    """Draw bands of panels one below the other.

    Args:
        bands: What is drawn.
        labels: The legend: one for each curve of a panel.
        suffix: One of `FORMATS`.
        smooth: Points in a moving average; None takes a thirtieth of the curve.
        log_scale: Logarithmic axes for losses; None decides band by band.
        title: Above everything.

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
        columns = max(1, min(len(labels), 100 // (max(map(len, labels)) + 8)))
        legend_in = 0.1 + _LINE_IN * -(-len(labels) // columns)
        rows = [row for band in bands for row in _rows(band)]
        numbered = [_numbered(row, below) for row, below in zip(rows, [*rows[1:], None])]
        gaps_in = [_NUMBERS_IN if any(places) else _GAP_IN for places in numbered]
        total_in = legend_in + sum(row.height_in for row in rows) + sum(gaps_in) + _LINE_IN
        title_in = 0.3 if title else 0.0
        figure = Figure(figsize=(_WIDTH_IN, total_in + title_in), dpi=150)
        limits, top_in = _limits(bands), total_in - legend_in
        for row, places, gap_in in zip(rows, numbered, gaps_in):
            axes = _draw_row(figure, row, top_in, smooth, log_scale)
            for axis, has_numbers in zip(axes, places):
                axis.set_xlim(limits)
                axis.tick_params(labelbottom=has_numbers)
                if row is rows[-1]:
                    axis.set_xlabel("iteration")
            top_in -= row.height_in + gap_in
        _draw_legend(figure, labels, columns, total_in)
        if title:
            place = (total_in + 0.1) / (total_in + title_in)
            figure.suptitle(title, fontsize=11, y=place, va="bottom")
        content = io.BytesIO()
        # No dates in the file, so that the same curves give the same file.
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(content, format=suffix, metadata=metadata[suffix])
    return content.getvalue()


class _Row(NamedTuple):
    """Panels side by side."""

    band: Band
    panels: Sequence[Panel]
    #: How many have room beside each other.
    columns: int
    #: Of the panels' axes.
    axes_in: float
    #: Above them: their own, and that of the band above its first row.
    titles_in: float

    @property
    def height_in(self) -> float:
        """Of titles and axes."""
        return self.titles_in + self.axes_in


def _rows(band: Band) -> list[_Row]:
    """A band's rows, as even as can be."""
    count = -(-len(band.panels) // _MOST_COLUMNS)
    columns = -(-len(band.panels) // count)
    axes_in = _AXES_IN if columns == 1 else _SMALL_AXES_IN
    return [
        _Row(
            band, band.panels[first : first + columns], columns, axes_in,
            _TITLE_IN if first or not band.title else 2 * _TITLE_IN,
        )
        for first in range(0, len(band.panels), columns)
    ]  # fmt: skip


def _numbered(row: _Row, below: _Row | None) -> list[bool]:
    """For each panel of a row, whether iterations stand on its axis: no panel as wide is below."""
    same = len(below.panels) if below is not None and below.columns == row.columns else 0
    return [place >= same for place in range(len(row.panels))]


def _limits(bands: Sequence[Band]) -> tuple[float, float]:
    """The iterations that every axis shows."""
    curves = [points for band in bands for panel in band.panels for points, _ in panel.curves]
    return _around(np.concatenate(curves), 0.01)


def _two_or_five(value: float, place: int) -> str:
    """The number at a minor tick of a low logarithmic axis, which has no room for all of them."""
    return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""


def _around(values: np.ndarray, margin: float = 0.05) -> tuple[float, float]:
    """The least and the largest of values, with a share of what is between them as a margin."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    space = margin * ((high - low) or abs(high)) or 0.5
    return low - space, high + space


def _draw_row(
    figure: Any, row: _Row, top_in: float, smooth: int | None, log_scale: bool | None
) -> list[Any]:
    """Draw the panels of a row below a height above the figure's lower edge; returns their axes."""
    band = row.band
    # The user's word is about losses; further series, as norms, decide for themselves.
    is_log = not band.is_accuracy and _wants_log(band, log_scale if band.is_loss else None)
    height_in = figure.get_figheight()
    inner_in = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    width_in = (inner_in - (row.columns - 1) * _BETWEEN_IN) / row.columns
    bottom = (top_in - row.height_in) / height_in
    axes = []
    for place, panel in enumerate(row.panels):
        left_in = _LEFT_IN + place * (width_in + _BETWEEN_IN)
        size = (width_in / _WIDTH_IN, row.axes_in / height_in)
        axis = figure.add_axes((left_in / _WIDTH_IN, bottom, *size))
        _draw_panel(axis, row, panel, smooth, is_log)
        if row.columns > 1 and not band.is_loss:  # losses of pieces are each of another scale
            axis.set_ylim(_around(_finite(band.panels)))
        if row.columns > 1:
            axis.set_title(panel.title, loc="left", fontweight="normal", fontsize=9)
            axis.tick_params(which="both", labelsize=7)
            if is_log:
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_formatter(_two_or_five)
        axes.append(axis)
    if row.titles_in > _TITLE_IN:
        figure.text(
            _LEFT_IN / _WIDTH_IN, (top_in - _TITLE_IN) / height_in, band.title, fontsize=10,
            fontweight="bold", va="bottom",
        )  # fmt: skip
    axes[0].set_ylabel(band.label)
    axes[0].yaxis.set_label_coords((0.15 - _LEFT_IN) / width_in, 0.5)
    return axes


def _draw_panel(axis: Any, row: _Row, panel: Panel, smooth: int | None, is_log: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    band, is_small = row.band, row.columns > 1
    drawn = sum(values.size > 0 for _, values in panel.curves)
    is_raw_shown = drawn <= (_MOST_RAW_SMALL if is_small else _MOST_RAW)
    for k, (iterations, values) in enumerate(panel.curves):
        style = {**line_style(k), "linewidth": 1.1 if is_small else 1.6}
        window = smooth if band.is_smoothed else 1
        draw_curve(axis, iterations, values, window, style, is_raw_shown)
    axis.set_title(panel.title, loc="left")
    if is_log:
        axis.set_yscale("log")
    if band.is_accuracy:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))


def _wants_log(band: Band, log_scale: bool | None) -> bool:
    """Whether a band's panels get logarithmic axes: all of them do, or none."""
    values = _finite(band.panels)
    if log_scale is not None:
        return log_scale and bool((values > 0).any())
    # Curves that touch zero, as that of a frozen net, keep the axis on which zero exists.
    if not values.size or values.min() <= 0:
        return False
    each = [_finite([panel]) for panel in band.panels]
    return any(one.size and one.max() > _LOG_SPAN * one.min() for one in each)


def _finite(panels: Sequence[Panel]) -> np.ndarray:
    """Every value in them that is a finite number: (K,) float64."""
    values = np.concatenate([values for panel in panels for _, values in panel.curves])
    return values[np.isfinite(values)]


def _draw_legend(figure: Any, labels: Sequence[str], columns: int, top_in: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linewidth=2, label=name, **line_style(k)) for k, name in enumerate(labels)
    ]
    # Above the first panel and its title: nowhere does it hide a curve.
    place = (_LEFT_IN / _WIDTH_IN, (top_in - 0.05) / figure.get_figheight())
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=place, borderaxespad=0.0, borderpad=0.0,
        ncol=columns,
    )  # fmt: skip
