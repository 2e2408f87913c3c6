"""Where no gradient passes: layers, bottoms and tops without one, whatever the net learns.

Facts from the layers' Backward in Caffe and its forks. What crosses a cut on such a path needs no
loss below it, and is sent as it is, never rounded: a mask of positions, regions of interest, the
reference of a Crop.
"""

from __future__ import annotations

from typing import Any

__all__ = ["WITHOUT_GRADIENT", "carries", "passes"]

#: Layers that pass no gradient on (their Backward is NOT_IMPLEMENTED or zero).
WITHOUT_GRADIENT = ("Accuracy", "ArgMax", "PriorBox", "Silence")
#: Layer type to the bottoms that it only reads: shapes, positions, weights, marks of a sequence.
_ONLY_READ = {
    "BatchReindex": (1,),
    "ContrastiveLoss": (2,),
    "Crop": (1,),
    "Embed": (0,),
    "InfogainLoss": (1, 2),
    "LSTM": (1,),
    "PSROIPooling": (1,),
    "RNN": (1,),
    "ROIPooling": (1,),
    "SmoothL1Loss": (2, 3),
    "Upsample": (1,),
}
#: Layer type to the first of its tops that are measured, not computed: positions, statistics.
_MEASURED = {"BN": 1, "Pooling": 1}
#: Losses whose second bottom is no label.
_TWO_SIDED = ("ContrastiveLoss", "EuclideanLoss", "SmoothL1Loss")


def passes(layer: Any, slot: int) -> bool:
    """Whether a layer's gradient, where it has one, reaches one of its bottoms.

    Args:
        layer: The layer's message.
        slot: Number of the bottom.
    """
    kind = str(layer.type)
    given = list(layer.propagate_down)
    if slot < len(given) and not given[slot]:
        return False
    # Loss layers do not backpropagate to their labels (loss_layer.hpp).
    is_label = slot == 1 and kind.endswith("Loss") and kind not in _TWO_SIDED
    return kind not in WITHOUT_GRADIENT and not is_label and slot not in _ONLY_READ.get(kind, ())


def carries(layer: Any, slot: int) -> bool:
    """Whether one of a layer's tops has a gradient that the layer uses.

    Args:
        layer: The layer's message.
        slot: Number of the top.
    """
    kind = str(layer.type)
    return kind not in WITHOUT_GRADIENT and slot < _MEASURED.get(kind, slot + 1)
