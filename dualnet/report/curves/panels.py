"""What a figure of training curves shows: which panels, in which order, with whose curves.

First the loss that counts and the test accuracy. The losses of the lower pieces are each of another
scale and say how the pieces agree, or how large a gradient is (dualnet/coupling/meaning.py), not
how well the net classifies: small panels below, named for what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dualnet.config.chain import SINGLE, number_of
from dualnet.coupling.meaning import COUNTING, Meaning, meaning_of
from dualnet.errors import UsageError
from dualnet.report.runs import PLAIN, Points, Run

__all__ = ["Band", "Panel", "bands"]

#: What the meter (dualnet/training/gauge/fidelity.py) has measured, drawn without being asked for:
#: series to title, in which {} is whose gradient it is.
_FIDELITY = {
    "fidelity_cosine": "cosine between {} gradient and the back-propagated gradient",
    "fidelity_ratio": "length of {} gradient over the back-propagated one's",
}
#: Pieces that have small panels, at most: more of them are a carpet, and tell no more.
_MOST_PIECES = 4
#: A loss of a lower piece in a run without a config that could say what it is.
_UNKNOWN = Meaning("coupling loss", "coupling loss", "of another scale than the loss above", "", "")
_EMPTY: Points = (np.zeros(0, np.int64), np.zeros(0))


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
        note: How to read them, "" if that needs no word.
        is_counting: Whether it shows what counts: the loss on the labels, or the accuracy.
        is_loss: Whether the user's word on logarithmic axes counts.
        is_smoothed: Whether a moving average is drawn.
    """

    title: str
    label: str
    panels: Sequence[Panel]
    note: str = ""
    is_counting: bool = False
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
        Band("", "loss", [counting], is_counting=True, is_loss=True),
        Band("", "accuracy", [accuracy], is_counting=True, is_smoothed=False),
        _own_losses(runs),
    ]
    for name, title in _FIDELITY.items():
        asked = frozenset(one.partition(":")[0] for one in series if one.endswith(f":{name}"))
        found.append(_fidelity(runs, name, title, without=asked))
    found += [_series(runs, name) for name in series]
    return [band for band in found if band.panels]


def _counting_title(runs: Sequence[Run]) -> str:
    """Whose the losses are that count."""
    names = {name for run in runs for name in run.logs if name not in run.coupled()}
    if PLAIN in names or not names:
        return "Training loss"
    words = [*_ordered(names - {SINGLE}), *(["single net"] if SINGLE in names else [])]
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"Training {COUNTING}: {listed}"


def _own_losses(runs: Sequence[Run]) -> Band:
    """A panel for each lower piece and each thing that its loss is: their scales differ."""
    pieces, note = _chosen(runs)
    groups: dict[tuple[str, str, str], dict[str, list[Points]]] = {}
    for place, run in enumerate(runs):
        for piece in run.coupled():
            points, meaning = run.coupling_loss(piece), _meaning(run, piece)
            if piece in pieces and points[1].size and not meaning.is_repeated:
                key = (meaning.kind, meaning.trend, meaning.target)
                curves = groups.setdefault(key, {}).setdefault(piece, [_EMPTY] * len(runs))
                curves[place] = points
    if len(groups) == 1:
        ((kind, trend, target), by_piece) = next(iter(groups.items()))
        note = f"{trend} (target {target})" + note if target else trend + note
        return _side_by_side(f"Lower pieces: {kind}", kind, "loss", by_piece, note, is_loss=True)
    panels = [
        Panel(f"{piece}: {kind}", by_piece[piece])
        for (kind, _, _), by_piece in groups.items()
        for piece in _ordered(by_piece)
    ]
    note = f"each of its own scale, none of that of the loss on the labels{note}"
    return Band("Own losses of the lower pieces", "loss", panels, note, is_loss=True)


def _meaning(run: Run, piece: str) -> Meaning:
    if run.config is None or piece not in run.config.names:
        return _UNKNOWN
    return meaning_of(run.config, piece)


def _fidelity(runs: Sequence[Run], name: str, title: str, without: frozenset[str]) -> Band:
    """What the meter has measured, a panel for each lower piece."""
    pieces, note = _chosen(runs)
    by_piece = {
        piece: [run.series(f"{piece}:{name}") if piece in run.coupled() else _EMPTY for run in runs]
        for piece in pieces
        if piece not in without
    }
    each = title.format("a piece's")
    each = each[0].upper() + each[1:]
    note = note.lstrip("; ")
    label = name.split("_")[-1]
    return _side_by_side(each, title.format("its"), label, by_piece, note, is_smoothed=False)


def _side_by_side(
    title: str,
    of_one: str,
    label: str,
    by_piece: dict[str, list[Points]],
    note: str,
    is_loss: bool = False,
    is_smoothed: bool = True,
) -> Band:
    """A panel a piece; the only one says in its title what it shows."""
    panels = [Panel(piece, by_piece[piece]) for piece in _ordered(by_piece)]
    filled = [panel for panel in panels if not panel.is_empty]
    if len(filled) == 1:
        title, panels = "", [Panel(f"{filled[0].title}: {of_one}", filled[0].curves)]
    return Band(title, label, panels, note, is_loss=is_loss, is_smoothed=is_smoothed)


def _chosen(runs: Sequence[Run]) -> tuple[list[str], str]:
    """The lower pieces that have panels, evenly from the data to the loss, and a note on others."""
    names = _ordered({name for run in runs for name in run.coupled()})
    if len(names) <= _MOST_PIECES:
        return names, ""
    places = [round(k * (len(names) - 1) / (_MOST_PIECES - 1)) for k in range(_MOST_PIECES)]
    return [
        names[k] for k in places
    ], f"; {len(places)} of {len(names)} drawn, others by --series net2:loss"


def _ordered(names: Iterable[str]) -> list[str]:
    """Pieces from the data to the loss."""
    return sorted(names, key=number_of)


def _series(runs: Sequence[Run], name: str) -> Band:
    panel = Panel(name, [run.series(name) for run in runs])
    if panel.is_empty:
        known = dict.fromkeys(known for run in runs for known in run.names())
        raise UsageError(f"no log has a series {name}: there are {', '.join(known) or 'none'}")
    *qualifiers, output = name.split(":")
    return Band("", output, [panel], is_loss="loss" in name, is_smoothed="test" not in qualifiers)
