"""The comment that each piece's prototxt begins with: what it has of the single net, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Optional

from dualnet.cut.split.flow import Flow
from dualnet.cut.split.names import Names
from dualnet.cut.split.partition import Partition

__all__ = ["Exchanged", "exchanged", "lower_text", "upper_text"]


class Exchanged(NamedTuple):
    """What passes one cut, by name.

    Attributes:
        number: The cut's number, from 1: it joins piece `number` and the next one.
        blobs, labels: What goes up.
        dual: The lower piece's dual layers, to their copies.
        compared: The lower piece's blobs, to what the upper one sends back for them.
        default_compared: What `compared` means where the configuration leaves it out: the first top
            of the last pair, sent under its layer's name.
        has_split: Whether Split layers lead blobs around the copies.
    """

    number: int
    blobs: list[str]
    labels: list[str]
    dual: dict[str, str]
    compared: dict[str, str]
    default_compared: dict[str, str]
    has_split: bool


def exchanged(number: int, partition: Partition, flow: Flow, names: Names) -> Exchanged:
    """What passes the cut of that number."""
    last = partition.dual[-1]
    first_top = names.lower[partition.dataflow.makes[last][0]]
    return Exchanged(
        number,
        [names.lower[version] for version in flow.blobs],
        [names.lower[version] for version in flow.labels],
        names.dual,
        {names.lower[p.version]: names.sent_name(p.version) for p in flow.compared},
        {first_top: names.copies[last]},
        bool(names.around),
    )


def lower_text(single: str, below: Optional[Exchanged], above: Exchanged) -> str:
    """What the piece below a cut is.

    Args:
        single: What the single net is called.
        below: The cut before, if there is one.
        above: The cut.
    """
    upper = f"net{above.number + 1}"
    losses = _listed(f"{blob} and {upper}'s {sent}" for blob, sent in above.compared.items())
    return (
        f"net{above.number}: {single}{_source(below)} up to {_listed(above.blobs)}, which {upper} "
        f"takes; {_copies(below)}{_listed(above.dual)}; and a loss on the distance between "
        f"{losses}.{_answer(below)}"
    )


def upper_text(single: str, below: Exchanged) -> str:
    """What the last piece is."""
    copies = _copies(below)[: -len("; ")]
    return f"net{below.number + 1}: {single}{_source(below)} to its end; {copies}.{_answer(below)}"


def _source(below: Optional[Exchanged]) -> str:
    if below is None:
        return ""
    return f" from {_listed([*below.blobs, *below.labels])}, which net{below.number} sends,"


def _copies(below: Optional[Exchanged]) -> str:
    if below is None:
        return ""
    copies, layers = _listed(below.dual.values()), _listed(below.dual)
    are = "is the copy" if len(below.dual) == 1 else "are the copies"
    return f"{copies} {are} of net{below.number}'s {layers}; "


def _answer(below: Optional[Exchanged]) -> str:
    if below is None:
        return ""
    text = f" Sent back for net{below.number}'s loss: {_listed(below.compared.values())}."
    if below.has_split:
        text += " A Split layer collects the gradient of what reads a blob beside the dual layers."
    return text


def _listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    given = list(names)
    return " and ".join([", ".join(given[:-1]), given[-1]]) if len(given) > 1 else given[0]
