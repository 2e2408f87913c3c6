"""What a figure of training curves shows: which panels, in which order, with whose curves.

First the loss that counts and the test accuracy. The losses of the pieces below are each of another
scale and say how well the pieces agree, not how well the net classifies: small panels, one a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dualnet.config.chain import SINGLE, number_of
from dualnet.errors import UsageError
from dualnet.report.runs import PLAIN, Points, Run

__all__ = ["Band", "Panel", "bands"]

#: What the meter (dualnet/training/gauge/fidelity.py) has measured, drawn without being asked for:
#: series to title, in which {} is whose gradient it is.
_FIDELITY = {
    "fidelity_cosine": "cosine between {} gradient and the back-propagated gradient",
    "fidelity_ratio": "length of {} gradient over the back-propagated one's",
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Above it.
        curves: Points of each run, in the order of the runs; empty where it has none.
    """

    title: str
    curves: list[Points]

    @property
    def is_empty(self) -> bool:
        """Whether no run has points."""
        return not any(values.size for _, values in self.curves)


@dataclass(frozen=True)
class Band:
    """Panels of one quantity: one across the figure, or small ones side by side.

    Attributes:
        title: Of them all; "" where the only panel's says it.
        label: Of their vertical axes.
        panels: Those that are not empty.
        is_loss: Whether the user's word on logarithmic axes counts.
        is_smoothed: Whether a moving average is drawn.
    """

    title: str
    label: str
    panels: Sequence[Panel]
    is_loss: bool = False
    is_smoothed: bool = True

    def __post_init__(self) -> None:
        filled = tuple(panel for panel in self.panels if not panel.is_empty)
        object.__setattr__(self, "panels", filled)

    @property
    def is_accuracy(self) -> bool:
        """Whether values are shares, shown in per cent."""
        return self.label == "accuracy" and not self.is_loss


def bands(runs: Sequence[Run], series: Sequence[str]) -> list[Band]:
    """Choose what is drawn, from the top down; what no run has is left out.

    Args:
        runs: In the order of the legend.
        series: Further series by name (`Run.series`).

    Raises:
        UsageError: The logs hold no such series.
    """
    counting = Panel(_counting_title(runs), [run.classification_loss() for run in runs])
    accuracy = Panel("Test accuracy", [run.accuracy() for run in runs])
    found = [
        Band("", "loss", [counting], is_loss=True),
        Band("", "accuracy", [accuracy], is_smoothed=False),
        _by_piece(runs, "coupling loss", "loss", Run.coupling_loss, is_loss=True),
    ]
    for name, title in _FIDELITY.items():
        label = name.split("_")[-1]
        asked = frozenset(one.partition(":")[0] for one in series if one.endswith(f":{name}"))

        def measured(run: Run, piece: str, name: str = name) -> Points:
            return run.series(f"{piece}:{name}")

        found.append(_by_piece(runs, title, label, measured, without=asked))
    found += [_series(runs, name) for name in series]
    return [_titled(band) for band in found if band.panels]


def _counting_title(runs: Sequence[Run]) -> str:
    """Whose the classification losses are."""
    names = {name for run in runs for name in run.logs if name not in run.coupled()}
    if PLAIN in names or not names:
        return "Training loss"
    words = [*_ordered(names - {SINGLE}), *(["single net"] if SINGLE in names else [])]
    title = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    title += ": classification loss"
    return title[0].upper() + title[1:] if words == ["single net"] else title


def _by_piece(
    runs: Sequence[Run],
    title: str,
    label: str,
    read: Callable[[Run, str], Points],
    is_loss: bool = False,
    without: frozenset[str] = frozenset(),
) -> Band:
    """A panel for each lower piece of any run."""
    names = {name for run in runs for name in run.coupled()} - without
    panels = [Panel(name, [read(run, name) for run in runs]) for name in _ordered(names)]
    return Band(title, label, panels, is_loss, is_smoothed=is_loss)


def _titled(band: Band) -> Band:
    """With one panel, the title stands there, and says whose it is."""
    if not band.title:
        return band
    if len(band.panels) > 1:
        title = band.title.format("a piece's")
        return replace(band, title=title[0].upper() + title[1:])
    (panel,) = band.panels
    title = f"{panel.title}: {band.title.format('its')}"
    return replace(band, title="", panels=[Panel(title, panel.curves)])


def _ordered(names: Iterable[str]) -> list[str]:
    """Pieces from the data to the loss."""
    return sorted(names, key=number_of)


def _series(runs: Sequence[Run], name: str) -> Band:
    panel = Panel(name, [run.series(name) for run in runs])
    if panel.is_empty:
        known = dict.fromkeys(known for run in runs for known in run.names())
        raise UsageError(f"no log has a series {name}: there are {', '.join(known) or 'none'}")
    *qualifiers, output = name.split(":")
    return Band("", output, [panel], "loss" in name, is_smoothed="test" not in qualifiers)
