"""What has to be compared so that the lower piece (net1 of two) gets the whole gradient.

The net's gradient reaches the lower side along every path from the loss through the cut. The lower
piece repeats the dual section, so a loss on the section's outputs covers the paths through it.
Paths that bypass the dual section (the shortcut of a residual block, the other branches of an
Inception module, a second reader of a dual layer's output) start at blobs that the lower piece also
has: each of these gets a loss of its own there. In the upper piece such a blob is led through a
Split layer, whose top collects the gradient of exactly those readers.

In a chain the net may itself be what an earlier cut left (chain.py). Some of its inputs then are
learnt below that cut. What passes on to the upper piece from them, with or without layers between,
is compared like everything that learns, so that its gradient comes back to the input, and from
there goes further down in the piece's own answer.

Each loss 1/(2 gamma N) |b - (bp - gamma N dL/dbp)|^2 has the gradient dL/dbp where b = bp, and the
gradients of all paths add up in the lower piece as they do in the whole net.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Callable, Optional

from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.split.gradients import WITHOUT_GRADIENT, carries, passes
from dualnet.cut.split.partition import Partition
from dualnet.cut.split.section import dual_name, has_loss
from dualnet.cut.upstream import FEEDS
from dualnet.errors import ConfigError

__all__ = ["Compared", "Flow", "find_flow"]


@dataclass(frozen=True)
class Compared:
    """A version that the lower piece's loss compares with its like in the upper one.

    Attributes:
        version: The version, as the whole net has it.
        needs_split: Whether the upper piece reads this blob inside and outside the dual section, or
            gets it sent, so that a Split layer must separate the gradient of the outside readers.
    """

    version: BlobVersion
    needs_split: bool


@dataclass(frozen=True)
class Flow:
    """What the versions that cross are for.

    Attributes:
        blobs: Blob versions that cross and depend on what is learnt in the lower piece or below it.
        labels: Those that cross without a gradient: labels, masks of positions, references. One
            phase may have none of them.
        compared: What the lower piece's losses compare, in the order in which it is made.
        needs_force: Whether the upper piece has no layer that learns before a compared version, so
            that Caffe would leave out its gradient (input_gradient.py).
    """

    blobs: list[BlobVersion]
    labels: list[BlobVersion]
    compared: list[Compared]
    needs_force: bool


def find_flow(
    partition: Partition, learning: set[int], learnt_inputs: Optional[Collection[str]] = None
) -> Flow:
    """Follow the gradient from the loss down to the cut.

    Args:
        partition: The cut.
        learning: Numbers of the layers whose parameters training changes.
        learnt_inputs: Blobs of the net's inputs that depend on what pieces below it learn; None:
            nothing is known of its inputs.

    Raises:
        ConfigError: The gradient does not reach the cut blobs, no layer before them learns, or the
            gradient of an input that may be learnt elsewhere would be lost.
    """
    dataflow, path = partition.dataflow, partition.dataflow.path
    inputs = [version for version in dataflow.versions if _is_input(dataflow, version)]
    learnt = [version for version in inputs if version.name in (learnt_inputs or ())]
    from_lower = _learnt(partition, learning.__contains__, learnt)
    blobs = [version for version in partition.crossing if version in from_lower]
    for version in partition.crossing:
        if version not in from_lower and version not in partition.found:
            raise ConfigError(
                f"{path}: --at {version.name}: no layer before it learns, so there would be "
                "nothing to train before the cut; cut after a layer with weights"
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
    if learnt_inputs is None:
        from_inputs = _learnt(partition, lambda number: False, inputs)
        _check_inputs(dataflow.path, from_inputs.intersection(labels, to_loss_or_dual))
    needs_force = any(pair.version not in with_dual for pair in compared)
    return Flow(blobs, labels, compared, needs_force)


def _is_input(dataflow: DataflowGraph, version: BlobVersion) -> bool:
    return dataflow.layers[version.makers[0][0]].type in FEEDS


def _check_inputs(path: str, lost: Collection[BlobVersion]) -> None:
    """Refuse to call what comes from inputs labels, where it has a gradient across the cut.

    A net that `dualnet split` wrote has such inputs; another piece makes and learns them.
    """
    if lost:
        names = ", ".join(sorted(version.name for version in lost))
        raise ConfigError(
            f"{path}: {names}: comes from an input, and crosses the cut with a gradient, which "
            "would be lost if another piece makes it; give all cuts of the single net in one "
            "command (--at … --dual … --at … --dual …), or set propagate_down: false where data is "
            "read"
        )


def _learnt(
    partition: Partition, learns: Callable[[int], bool], inputs: Iterable[BlobVersion] = ()
) -> set[BlobVersion]:
    """Blob versions of training that have a gradient, because upstream layers learn.

    Args:
        partition: The cut.
        learns: Whether the layer of a number does.
        inputs: What is learnt to begin with.
    """
    dataflow = partition.dataflow
    learnt = set(inputs)
    for number in dataflow.used["TRAIN"]:
        layer = dataflow.layers[number]
        reads_learnt = any(
            version in learnt and passes(layer, slot)
            for slot, version in enumerate(dataflow.reads[number])
        )
        if reads_learnt or learns(number):
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
