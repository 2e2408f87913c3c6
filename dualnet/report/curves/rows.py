"""How panels are laid out: bands below each other, small panels side by side in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

from dualnet.report.curves.panels import Band, Panel

__all__ = ["BETWEEN_IN", "INNER_IN", "NOTE_IN", "TITLE_IN", "Row", "make_rows", "numbered"]

#: Small panels beside each other, at most.
_MOST_COLUMNS = 4
#: Inches: all panels and what is between them, the axes' height across the figure and in small
#: panels, a title and a note.
INNER_IN, BETWEEN_IN = 5.9, 0.5
_AXES_IN, _SMALL_AXES_IN = 1.7, 1.05
TITLE_IN, NOTE_IN = 0.25, 0.17
#: Width of a character in the title of a small panel.
_LETTER_IN = 0.072


class Row(NamedTuple):
    """Panels side by side."""

    band: Band
    panels: Sequence[Panel]
    #: How many have room beside each other.
    columns: int
    #: Of the panels' axes.
    axes_in: float
    #: Whether the band's title and note stand above it.
    is_first: bool

    @property
    def width_in(self) -> float:
        """Of each panel's axes."""
        return (INNER_IN - (self.columns - 1) * BETWEEN_IN) / self.columns

    @property
    def heading_in(self) -> float:
        """Of the band's title and note, above the panels' own titles."""
        if not self.is_first:
            return 0.0
        return (TITLE_IN if self.band.title else 0.0) + (NOTE_IN if self.band.note else 0.0)

    @property
    def height_in(self) -> float:
        """Of headings, titles and axes."""
        return self.heading_in + TITLE_IN + self.axes_in


def make_rows(band: Band) -> list[Row]:
    """A band's rows, as even as can be."""
    longest_in = _LETTER_IN * max(len(panel.title) for panel in band.panels)
    fitting = int((INNER_IN + BETWEEN_IN) / (longest_in + BETWEEN_IN))
    most = max(1, min(_MOST_COLUMNS, fitting))
    count = -(-len(band.panels) // most)
    columns = -(-len(band.panels) // count)
    axes_in = _AXES_IN if band.is_counting or len(band.panels) == 1 else _SMALL_AXES_IN
    return [
        Row(band, band.panels[first : first + columns], columns, axes_in, first == 0)
        for first in range(0, len(band.panels), columns)
    ]


def numbered(row: Row, below: Optional[Row]) -> list[bool]:
    """For each panel of a row, whether numbers stand on its x axis: no panel as wide is below."""
    same = len(below.panels) if below is not None and below.columns == row.columns else 0
    return [place >= same for place in range(len(row.panels))]
