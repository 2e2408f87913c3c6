"""What a user should know about a cut before training it."""

from __future__ import annotations

from dualnet.cut.split.flow import Flow
from dualnet.cut.split.sides import Sides

__all__ = ["remarks_on"]

#: Data layers that a program fills by hand; in a training they stay zero.
_HAND_FED = ("Input", "MemoryData")


def remarks_on(sides: Sides, flow: Flow) -> list[str]:
    """One line each: what else crosses, what is left out, where the halves differ from the net."""
    wiring = sides.wiring
    remarks = []
    if sides.found:
        names = [stream.name for stream in sides.found if stream in flow.blobs]
        if names:
            remarks.append(f"also crossing the cut: {', '.join(names)}")
    unused = [wiring.label(i) for i in range(len(wiring.layers)) if i not in wiring.makes]
    if unused:
        phases = " nor ".join(wiring.used)
        remarks.append(f"left out, as neither phase {phases} has them: {', '.join(unused)}")
    train = set(wiring.used["TRAIN"])
    for number in sides.dual:
        layer, label = wiring.layers[number], wiring.label(number)
        if number not in train:
            continue
        if layer.type == "Dropout" and layer.dropout_param.dropout_ratio > 0:
            remarks.append(
                f"dual layer {label}: net1 and net2 drop different values, so net1's gradient "
                "is that of a net whose two copies differ; leave Dropout out of --dual"
            )
        elif layer.type == "Pooling" and layer.pooling_param.pool == layer.pooling_param.STOCHASTIC:
            remarks.append(
                f"dual layer {label}: net1 and net2 pool by different random numbers; leave "
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
    for number in sides.lower:
        layer, label = wiring.layers[number], wiring.label(number)
        if number in train and layer.type in _HAND_FED and not layer.bottom:
            remarks.append(
                f"layer {label} of type {layer.type}: nothing fills {', '.join(layer.top)} in "
                "dualnet train; put a data layer there"
            )
    needed = _needed(sides)
    tested = [
        wiring.label(number) for number in sides.lower
        if wiring.phases_of(number) == {"TEST"} and wiring.layers[number].bottom
        and number not in needed
    ]  # fmt: skip
    if tested:
        remarks.append(f"tests run net1 up to the cut and so leave out {', '.join(tested)}")
    return remarks


def _needed(sides: Sides) -> set[int]:
    """The lower side's layers that what crosses depends on."""
    needed: set[int] = set()
    wanted = set(sides.crossing)
    for number in reversed(sides.lower):
        if any(stream in wanted for stream in sides.wiring.makes[number]):
            needed.add(number)
            wanted.update(sides.wiring.reads[number])
    return needed
