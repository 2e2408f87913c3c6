"""Which layers go to the lower piece, which to the upper, which to both, and what crosses the cut.

The upper side is everything that depends on the cut blobs; the lower side is all the rest: what
makes the cut blobs, branches beside them, auxiliary losses before the cut. Whatever the lower side
makes and the upper side reads crosses, whether it was named or not. The dual section belongs to the
upper side, and the lower piece has a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dualnet.cut.dataflow import BlobVersion, DataflowGraph, nearest
from dualnet.cut.split.section import find_section, has_loss, named_once
from dualnet.errors import ConfigError

__all__ = ["Partition", "find_partition"]

#: Layers without bottoms that make the same values each time; they go where they are read.
_CONSTANTS = ("Parameter", "DummyData")


@dataclass(frozen=True)
class Partition:
    """A net in two.

    Attributes:
        dataflow: The single net.
        lower: Numbers of the layers of the lower piece (net1 of two), the dual section left out.
        dual: Numbers of the dual section's layers, in forward order.
        upper: Numbers of the layers of the upper piece, the dual section left out.
        crossing: What the lower side makes and the upper side or the dual section reads: the blobs
            that were asked for, then the others in the order in which they are made.
        found: Those of them that were not asked for.
    """

    dataflow: DataflowGraph
    lower: list[int]
    dual: list[int]
    upper: list[int]
    crossing: list[BlobVersion]
    found: list[BlobVersion]


def find_partition(dataflow: DataflowGraph, at: Sequence[str], dual: Sequence[str]) -> Partition:
    """Cut a net.

    Args:
        dataflow: The single net.
        at: Names of the cut blobs; each stands for its values after all in-place layers.
        dual: The layers that both nets are to have, in any order: their names, or where a layer
            has none of its own that of its top. Layers without a name of their own that stand
            between them are taken, too.

    Raises:
        ConfigError: A name is unknown, or the net cannot be cut so; the message says why.
    """
    path = dataflow.path
    asked = [_cut_blob(dataflow, name) for name in named_once(at, "--at", path)]
    downstream = _downstream(dataflow, asked)
    for version in asked:
        if any(number in downstream for number, _ in version.makers):
            earlier = next(other for other in asked if version in _reached(dataflow, other))
            raise ConfigError(
                f"{path}: --at {version.name}: it is made from {earlier.name}, which is a cut blob "
                f"too; name {earlier.name} or {version.name}, not both"
            )
    for number in dataflow.numbers:
        if _is_only_for(dataflow, number, downstream):
            downstream.add(number)
    if not any(
        has_loss(dataflow.layers[number])
        for number in dataflow.used["TRAIN"]
        if number in downstream
    ):
        names = ", ".join(version.name for version in asked)
        raise ConfigError(
            f"{path}: --at {names}: no loss in phase TRAIN depends on it, so what comes "
            "after would learn nothing; cut before the loss"
        )
    section = find_section(dataflow, downstream, asked, dual)
    lower = [number for number in dataflow.numbers if number not in downstream]
    crossing = _crossing(dataflow, downstream)
    found = [version for version in crossing if version not in asked]
    partition = Partition(
        dataflow, lower, section, sorted(downstream - set(section)), asked + found, found
    )
    _check_sharing(partition)
    return partition


def _cut_blob(dataflow: DataflowGraph, name: str) -> BlobVersion:
    """The version that a cut blob's name stands for."""
    version = dataflow.last(name)
    path = dataflow.path
    if version is None:
        layers = dataflow.numbers_of(name)
        if layers:
            tops = ", ".join(top for n in layers for top in dataflow.layers[n].top) or "none"
            raise ConfigError(
                f"{path}: --at {name}: that is a layer, and a blob is needed; its tops: {tops}"
            )
        names = list(dict.fromkeys(version.name for version in dataflow.versions))
        raise ConfigError(
            f"{path}: --at {name}: no such blob{nearest(name, names)}; "
            f"its blobs: {', '.join(names)}"
        )
    if "TRAIN" not in version.phases:
        raise ConfigError(
            f"{path}: --at {name}: made in phase TEST only; cut at a blob that training has"
        )
    for number in dataflow.overwriters(version):
        if version in dataflow.makes[number]:
            raise ConfigError(
                f"{path}: --at {name}: layer {dataflow.label(number)} works on it in place in "
                "one phase only; give it a top of its own"
            )
    if not version.readers:
        raise ConfigError(
            f"{path}: --at {name}: no layer reads it, so nothing would come after; cut at "
            "an earlier blob, closer to the data"
        )
    return version


def _downstream(dataflow: DataflowGraph, asked: Sequence[BlobVersion]) -> set[int]:
    """The layers that depend on the cut blobs."""
    downstream: set[int] = set()
    reached = set(asked)
    for number in dataflow.numbers:
        if any(version in reached for version in dataflow.reads[number]):
            downstream.add(number)
            reached.update(dataflow.makes[number])
    return downstream


def _reached(dataflow: DataflowGraph, version: BlobVersion) -> set[BlobVersion]:
    downstream = _downstream(dataflow, [version])
    return {made for number in downstream for made in dataflow.makes[number]}


def _is_only_for(dataflow: DataflowGraph, number: int, downstream: set[int]) -> bool:
    """Whether a layer makes constants that the upper side alone reads."""
    readers = [reader for version in dataflow.makes[number] for reader, _ in version.readers]
    return (
        dataflow.layers[number].type in _CONSTANTS
        and bool(readers)
        and all(reader in downstream for reader in readers)
    )


def _crossing(dataflow: DataflowGraph, downstream: set[int]) -> list[BlobVersion]:
    """What the lower side makes and the upper side reads."""
    crossing = []
    for version in dataflow.versions:
        readers = [number for number, _ in version.readers if number in downstream]
        makers = [number for number, _ in version.makers]
        if not readers:
            continue
        if any(maker in downstream for maker in makers):
            if not all(maker in downstream for maker in makers):
                raise ConfigError(
                    f"{dataflow.path}: {version.name} depends on the cut in one phase and not in "
                    "the other; cut where both phases agree"
                )
            continue
        crossing.append(version)
    return crossing


def _check_sharing(partition: Partition) -> None:
    """Parameters with one name are one parameter, which two processes cannot have."""
    groups = {
        "before the cut": partition.lower,
        "the dual section": partition.dual,
        "after the cut": partition.upper,
    }
    owners: dict[str, tuple[str, str]] = {}
    dataflow = partition.dataflow
    for group, numbers in groups.items():
        for number in numbers:
            layer = dataflow.layers[number]
            for name in (spec.name for spec in layer.param if spec.name):
                other, other_group = owners.setdefault(name, (dataflow.label(number), group))
                if other_group != group:
                    raise ConfigError(
                        f"{dataflow.path}: layers {other} ({other_group}) and "
                        f"{dataflow.label(number)} ({group}) share the parameter {name}, and "
                        "two processes cannot train one parameter; cut before or after both, or "
                        "give them parameters of their own"
                    )
