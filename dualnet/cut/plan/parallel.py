"""Cuts of several blobs: through branches side by side, as those of a siamese net.

Where branches share parameters, or come from different data, no single blob parts the net: one
branch alone would leave its twin's weights in the other piece. Such a net is cut through all its
branches at one height; the height of a layer is the number of layers on the longest way to it from
the data. Branches of one trunk that share nothing, as an Inception module's, can be cut at the
trunk, and are left out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from dualnet.cut.dataflow import BlobVersion, DataflowGraph

__all__ = ["parallel_blobs"]


def parallel_blobs(dataflow: DataflowGraph, learning: Collection[int]) -> list[list[BlobVersion]]:
    """Blobs at one height that part the net together, from the data upwards, two or more each.

    Args:
        dataflow: The net.
        learning: Numbers of the layers whose parameters training changes.
    """
    #: Of each version of training, the layers that learn and the versions that lead to it.
    learners: dict[BlobVersion, set[int]] = {}
    upstream: dict[BlobVersion, set[BlobVersion]] = {}
    for number in dataflow.used["TRAIN"]:
        reads = dataflow.reads[number]
        found = {n for s in reads for n in learners[s]} | ({number} & set(learning))
        versions = set(reads).union(*(upstream[s] for s in reads))
        for version in dataflow.makes[number]:
            learners.setdefault(version, set()).update(found)
            upstream.setdefault(version, set()).update(versions - {version})
    seen: list[list[BlobVersion]] = []
    # Branches that differ in layers without weights are level in those that learn.
    for counted in (set(learning), {n for n in dataflow.makes if not _is_in_place(dataflow, n)}):
        for level in _levels(dataflow, counted):
            learnt = [version for version in level if learners[version]]
            blobs = [s for s in learnt if not any(s in upstream[other] for other in learnt)]
            if len(blobs) > 1 and blobs not in seen and _are_apart(dataflow, blobs, learners):
                seen.append(blobs)
    return seen


def _levels(dataflow: DataflowGraph, counted: Collection[int]) -> Iterator[list[BlobVersion]]:
    """For each height the versions that layers up to it make and higher layers read."""
    heights: dict[int, int] = {}
    height_of: dict[BlobVersion, int] = {}
    for number in dataflow.used["TRAIN"]:
        lower = max((height_of[version] for version in dataflow.reads[number]), default=0)
        heights[number] = lower + (number in counted)
        height_of.update(dict.fromkeys(dataflow.makes[number], heights[number]))
    for height in range(max(heights.values(), default=0) + 1):
        yield [
            version
            for version, its_height in height_of.items()
            if its_height <= height
            and dataflow.last(version.name) is version
            and any(heights.get(number, -1) > height for number, _ in version.readers)
        ]


def _is_in_place(dataflow: DataflowGraph, number: int) -> bool:
    tops = range(len(dataflow.layers[number].top))
    return any(dataflow.is_in_place((number, top)) for top in tops)


def _are_apart(
    dataflow: DataflowGraph, blobs: Sequence[BlobVersion], learners: dict[BlobVersion, set[int]]
) -> bool:
    """Whether branches have no layer that learns in common, or share parameters by name."""
    pairs = [(learners[one], learners[two]) for one, two in combinations(blobs, 2)]
    if not any(one & two for one, two in pairs):
        return True
    return any(_names(dataflow, one - two) & _names(dataflow, two - one) for one, two in pairs)


def _names(dataflow: DataflowGraph, numbers: Collection[int]) -> set[str]:
    """The names of the parameters of some layers, as far as they have any."""
    return {
        str(spec.name) for number in numbers for spec in dataflow.layers[number].param if spec.name
    }
