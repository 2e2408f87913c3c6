"""What has to be compared so that net1 gets the whole gradient.

The single net's gradient reaches the lower side along every path from the loss through the cut.
net1 repeats the dual section, so a loss on the section's outputs covers the paths through it. Paths
that bypass the dual section (the shortcut of a residual block, the other branches of an Inception
module, a second reader of a dual layer's output) start at blobs that net1 also has: each of these
gets a loss of its own in net1. In net2 such a blob is led through a Split layer, whose top collects
the gradient of exactly those readers.

Each loss 1/(2 gamma N) |b - (bp - gamma N dL/dbp)|^2 has the gradient dL/dbp where b = bp, and the
gradients of all paths add up in net1 as they do in the single net.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

from dualnet.cut.dataflow import BlobVersion
from dualnet.cut.split.gradients import WITHOUT_GRADIENT, carries, passes
from dualnet.cut.split.partition import Partition, dual_name, has_loss
from dualnet.errors import ConfigError

__all__ = ["Compared", "Flow", "find_flow"]


@dataclass(frozen=True)
class Compared:
    """A version that net1's loss compares with its like in net2.

    Attributes:
        version: The version, as the single net has it.
        needs_split: Whether net2 reads this blob both inside and outside the dual section, or net1
            sends it, so that a Split layer must separate the gradient of the outside readers.
    """

    version: BlobVersion
    needs_split: bool


@dataclass(frozen=True)
class Flow:
    """What the versions that cross are for.

    Attributes:
        blobs: Blob versions that cross and depend on what net1 learns.
        labels: Those that cross without a gradient: labels, masks of positions, references. One
            phase may have none of them.
        compared: What net1's losses compare, in the order in which it is made.
        needs_force: Whether a compared version of net2 has nothing that learns below it, so that
            Caffe would leave out its gradient (input_gradient.py).
    """

    blobs: list[BlobVersion]
    labels: list[BlobVersion]
    compared: list[Compared]
    needs_force: bool


def find_flow(partition: Partition, learning: set[int]) -> Flow:
    """Follow the gradient from net2's loss down to the cut.

    Args:
        partition: The cut.
        learning: Numbers of the layers whose parameters training changes.

    Raises:
        ConfigError: The gradient does not reach the cut blobs, or nothing below them learns.
    """
    dataflow, path = partition.dataflow, partition.dataflow.path
    from_lower = _learnt(partition, learning.__contains__)
    blobs = [version for version in partition.crossing if version in from_lower]
    for version in partition.crossing:
        if version not in from_lower and version not in partition.found:
            raise ConfigError(
                f"{path}: --at {version.name}: nothing below it learns, so net1 would have nothing "
                "to train; cut after a layer with weights"
            )
    for version in blobs:
        missing = [phase for phase in dataflow.used if phase not in version.phases]
        if missing:
            raise ConfigError(
                f"{path}: {version.name} crosses the cut in phase {min(version.phases)} and no "
                f"layer makes it in phase {missing[0]}; cut elsewhere, or make it in both"
            )
    labels = [version for version in partition.crossing if version not in from_lower]
    dual, upper = set(partition.dual), set(partition.upper)
    to_loss = _to_loss(partition, upper)
    to_loss_or_dual = _to_loss(partition, upper | dual)
    own = [version for number in partition.dual for version in dataflow.makes[number]]
    compared = []
    for version in dict.fromkeys([*blobs, *own]):
        if version in from_lower and version in to_loss:
            in_section = any(number in dual for number, _ in version.readers)
            compared.append(Compared(version, version in partition.crossing or in_section))
    if not any(pair.version in own for pair in compared):
        names = ", ".join(dual_name(dataflow, number) for number in partition.dual)
        raise ConfigError(
            f"{path}: --dual {names}: no loss in phase TRAIN depends on its output, so there is "
            "nothing to compare; name a layer between the cut and the loss"
        )
    for version in blobs:
        if version not in partition.found and version not in to_loss_or_dual:
            raise ConfigError(
                f"{path}: --at {version.name}: the loss has no gradient with respect to it; cut "
                "where the loss depends on the blob"
            )
    with_dual = _learnt(partition, lambda number: number in learning and number in dual)
    needs_force = any(pair.version not in with_dual for pair in compared)
    return Flow(blobs, labels, compared, needs_force)


def _learnt(partition: Partition, learns: Callable[[int], bool]) -> set[BlobVersion]:
    """Blob versions of training that have a gradient because layers that learn lie below them."""
    dataflow = partition.dataflow
    learnt: set[BlobVersion] = set()
    for number in dataflow.used["TRAIN"]:
        layer = dataflow.layers[number]
        below = any(
            version in learnt and passes(layer, slot)
            for slot, version in enumerate(dataflow.reads[number])
        )
        if below or learns(number):
            made = enumerate(dataflow.makes[number])
            learnt.update(version for slot, version in made if carries(layer, slot))
    return learnt


def _to_loss(partition: Partition, through: Iterable[int]) -> set[BlobVersion]:
    """Blob versions with a path of gradient to a loss through the given layers alone."""
    dataflow, through = partition.dataflow, set(through)
    found: set[BlobVersion] = set()
    for number in reversed(dataflow.used["TRAIN"]):
        layer = dataflow.layers[number]
        if number not in through or layer.type in WITHOUT_GRADIENT:
            continue
        made = enumerate(dataflow.makes[number])
        if has_loss(layer) or any(
            version in found for slot, version in made if carries(layer, slot)
        ):
            found.update(
                version
                for slot, version in enumerate(dataflow.reads[number])
                if passes(layer, slot)
            )
    return found
