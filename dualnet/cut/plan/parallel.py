"""Cuts of several blobs: through branches side by side, as those of a siamese net.

Where branches share parameters, or come from different data, no single blob parts the net: one
branch alone would leave its twin's weights in the other half. Such a net is cut through all its
branches at one height; the height of a layer is the number of layers on the longest way to it from
the data. Branches of one trunk that share nothing, as an Inception module's, can be cut at the
trunk, and are left out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from dualnet.cut.wiring import Stream, Wiring

__all__ = ["parallel_blobs"]


def parallel_blobs(wiring: Wiring, learning: Collection[int]) -> list[list[Stream]]:
    """Blobs at one height that part the net together, from the data upwards, two or more each.

    Args:
        wiring: The net.
        learning: Numbers of the layers whose parameters training changes.
    """
    #: Of each stream of training, the layers that learn and the streams that lead to it.
    learners: dict[Stream, set[int]] = {}
    below: dict[Stream, set[Stream]] = {}
    for number in wiring.used["TRAIN"]:
        reads = wiring.reads[number]
        found = {n for s in reads for n in learners[s]} | ({number} & set(learning))
        streams = set(reads).union(*(below[s] for s in reads))
        for stream in wiring.makes[number]:
            learners.setdefault(stream, set()).update(found)
            below.setdefault(stream, set()).update(streams - {stream})
    seen: list[list[Stream]] = []
    # Branches that differ in layers without weights are level in those that learn.
    for counted in (set(learning), {n for n in wiring.makes if not _is_in_place(wiring, n)}):
        for level in _levels(wiring, counted):
            learnt = [stream for stream in level if learners[stream]]
            blobs = [s for s in learnt if not any(s in below[other] for other in learnt)]
            if len(blobs) > 1 and blobs not in seen and _are_apart(wiring, blobs, learners):
                seen.append(blobs)
    return seen


def _levels(wiring: Wiring, counted: Collection[int]) -> Iterator[list[Stream]]:
    """For each height the streams that layers above it read, and layers up to it make."""
    heights: dict[int, int] = {}
    height_of: dict[Stream, int] = {}
    for number in wiring.used["TRAIN"]:
        lower = max((height_of[stream] for stream in wiring.reads[number]), default=0)
        heights[number] = lower + (number in counted)
        height_of.update(dict.fromkeys(wiring.makes[number], heights[number]))
    for height in range(max(heights.values(), default=0) + 1):
        yield [
            stream
            for stream, its_height in height_of.items()
            if its_height <= height
            and wiring.last(stream.name) is stream
            and any(heights.get(number, -1) > height for number, _ in stream.readers)
        ]


def _is_in_place(wiring: Wiring, number: int) -> bool:
    tops = range(len(wiring.layers[number].top))
    return any(wiring.is_in_place((number, top)) for top in tops)


def _are_apart(wiring: Wiring, blobs: Sequence[Stream], learners: dict[Stream, set[int]]) -> bool:
    """Whether branches have no layer that learns in common, or share parameters by name."""
    pairs = [(learners[one], learners[two]) for one, two in combinations(blobs, 2)]
    if not any(one & two for one, two in pairs):
        return True
    return any(_names(wiring, one - two) & _names(wiring, two - one) for one, two in pairs)


def _names(wiring: Wiring, numbers: Collection[int]) -> set[str]:
    """The names of the parameters of some layers, as far as they have any."""
    return {
        str(spec.name) for number in numbers for spec in wiring.layers[number].param if spec.name
    }
