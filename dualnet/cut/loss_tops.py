"""Names for the losses that a prototxt gives no top.

Caffe makes a top of its own for them, and calls each `(automatic)` (net.cpp): several have one name
in pycaffe's dicts, so that a log or an evaluation cannot distinguish or weigh them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualnet.cut.graph import included_layers

__all__ = ["name_loss_tops"]


def name_loss_tops(net: Any, path: str, states: Mapping[str, Any]) -> None:
    """Give each loss layer without a top one that is called like the layer.

    Args:
        net: A NetParameter, changed in place.
        path: Where it was read, for messages.
        states: Phase to the NetState that the solver adds.
    """
    used = [{*included_layers(net, phase, path, states.get(phase))} for phase in ("TRAIN", "TEST")]
    for number, layer in enumerate(net.layer):
        if layer.top or not layer.type.endswith("Loss"):
            continue
        beside = {other for numbers in used if number in numbers for other in numbers}
        taken = {top for other in beside for top in net.layer[other].top}
        top = layer.name or "loss"
        while top in taken:
            top += "_"
        layer.top.append(top)
