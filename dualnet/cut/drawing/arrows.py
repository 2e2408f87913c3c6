"""What passes between the nets of a drawing, as arrows: up in one colour, down in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dualnet.config import Config
from dualnet.cut.drawing.columns import Column, sent_names
from dualnet.cut.graph import NetGraph

__all__ = ["Arrow", "make_arrows"]

#: What each target sends down, {} being what the lower piece calls it (dualnet/coupling).
_ANSWERS = {"backprop": "gradient", "gradient": "{} − γ · gradient", "updated": "{}, updated"}


class Arrow(NamedTuple):
    """One message, or what of a message goes into one box.

    Attributes:
        cut: The cut that it crosses, by its place from 0.
        lower: The box of the piece below.
        upper: That of the piece above.
        words: What is sent.
        shape: Of it, "" where a prototxt does not say it.
        is_down: Whether it goes from the piece above to the one below.
    """

    cut: int
    lower: str
    upper: str
    words: str
    shape: str
    is_down: bool


def make_arrows(
    columns: Mapping[str, Column], graphs: Mapping[str, NetGraph], config: Config
) -> list[Arrow]:
    """The arrows across all cuts, from the data to the loss; those up come before those down."""
    return [
        arrow
        for cut in range(len(config.cuts))
        for way in (_up, _down)
        for arrow in way(columns, graphs, config, cut)
    ]


def _up(
    columns: Mapping[str, Column], graphs: Mapping[str, NetGraph], config: Config, index: int
) -> Iterator[Arrow]:
    lower_name, upper_name = config.names[index : index + 2]
    lower, upper, cut = columns[lower_name], columns[upper_name], config.cuts[index]
    labels = ", ".join(cut.labels)
    for number, blob in enumerate(cut.blobs):
        words = f"{blob} and {labels}" if number == 0 and labels else blob
        end = f"{upper_name} feed {blob}"
        yield Arrow(index, lower.makers[blob], end, words, upper.shapes[blob], False)


def _down(
    columns: Mapping[str, Column], graphs: Mapping[str, NetGraph], config: Config, index: int
) -> Iterator[Arrow]:
    lower_name, upper_name = config.names[index : index + 2]
    lower, upper, cut = columns[lower_name], columns[upper_name], config.cuts[index]
    coupling = config.coupling_of(index)
    answer = _ANSWERS.get(coupling.target, "{}")
    if coupling.rule.sends_gradients:
        for blob in cut.blobs:
            yield Arrow(index, lower.makers[blob], f"{upper_name} feed {blob}", answer, "", True)
    for sent_name in sent_names(config, index, graphs[lower_name]):
        # Where the upper piece has no blob of that name, it is the name of a dual layer.
        start = upper.makers.get(sent_name) or f"{upper_name} {sent_name}"
        words, shape = answer.format(sent_name), lower.shapes[sent_name]
        yield Arrow(index, f"{lower_name} feed {sent_name}", start, words, shape, True)
