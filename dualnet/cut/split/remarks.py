"""What a user should know about a cut before training it."""

from __future__ import annotations

from dualnet.cut.split.flow import Flow
from dualnet.cut.split.partition import Partition
from dualnet.cut.upstream import FEEDS

__all__ = ["remarks_on"]


def remarks_on(partition: Partition, flow: Flow, cut: int = 1) -> list[str]:
    """One line each: what else crosses, what is left out, where the pieces differ from the net.

    Args:
        partition, flow: The cut.
        cut: Its number in the chain, from 1.
    """
    lower, upper = f"net{cut}", f"net{cut + 1}"
    dataflow = partition.dataflow
    remarks = []
    if partition.found:
        names = [version.name for version in partition.found if version in flow.blobs]
        if names:
            remarks.append(f"also crossing the cut: {', '.join(names)}")
    unused = [dataflow.label(i) for i in range(len(dataflow.layers)) if i not in dataflow.makes]
    if unused:
        phases = " nor ".join(dataflow.used)
        remarks.append(f"left out, as neither phase {phases} has them: {', '.join(unused)}")
    train = set(dataflow.used["TRAIN"])
    for number in partition.dual:
        layer, label = dataflow.layers[number], dataflow.label(number)
        if number not in train:
            continue
        if layer.type == "Dropout" and layer.dropout_param.dropout_ratio > 0:
            remarks.append(
                f"dual layer {label}: {lower} and {upper} drop different values, so the "
                f"gradient of {lower} is that of a net whose two copies differ; leave Dropout out "
                "of --dual"
            )
        elif layer.type == "Pooling" and layer.pooling_param.pool == layer.pooling_param.STOCHASTIC:
            remarks.append(
                f"dual layer {label}: {lower} and {upper} pool by different random numbers; leave "
                "stochastic pooling out of --dual"
            )
        elif layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats:
            remarks.append(
                f"dual layer {label}: both nets keep moving averages of their own; they stay "
                "equal while the dual layers' weights do"
            )
        elif layer.type == "Python":
            remarks.append(
                f"dual layer {label}: its Python code runs in both nets and must do the same "
                "in both"
            )
    for number in partition.lower:
        layer, label = dataflow.layers[number], dataflow.label(number)
        if lower == "net1" and number in train and layer.type in FEEDS:
            remarks.append(
                f"layer {label} of type {layer.type}: nothing fills {', '.join(layer.top)} in "
                "dualnet train; put a data layer there"
            )
    needed = _needed(partition)
    tested = [
        dataflow.label(number) for number in partition.lower
        if dataflow.phases_of(number) == {"TEST"} and dataflow.layers[number].bottom
        and dataflow.layers[number].type != "Silence" and number not in needed
    ]  # fmt: skip
    if tested:
        remarks.append(f"tests run {lower} up to the cut and so leave out {', '.join(tested)}")
    return remarks


def _needed(partition: Partition) -> set[int]:
    """The lower side's layers that what crosses depends on."""
    needed: set[int] = set()
    wanted = set(partition.crossing)
    for number in reversed(partition.lower):
        if any(version in wanted for version in partition.dataflow.makes[number]):
            needed.add(number)
            wanted.update(partition.dataflow.reads[number])
    return needed
