"""Layers that cannot write their result over their input."""

from __future__ import annotations

from dualnet.engine.errors import GraphError
from dualnet.engine.layers.base import Blobs, Layer

__all__ = ["refuse_in_place"]


def refuse_in_place(layer: Layer, bottom: Blobs, top: Blobs) -> None:
    """Checks that no top is a bottom; Caffe silently computes wrong results for most such layers.

    Args:
        layer: a layer whose tops differ from its bottoms in shape, or whose backward pass needs
            what the bottoms held.
        bottom: its bottoms.
        top: its tops.

    Raises:
        GraphError: a top is a bottom.
    """
    for index, blob in enumerate(top):
        if any(blob is other for other in bottom):
            names = layer.layer_param.top
            name = f" '{names[index]}'" if index < len(names) else ""
            raise GraphError(
                f"layer '{layer.name}' ({layer.type}) does not allow in-place computation: top "
                f"{index}{name} is a bottom too; give the top a name of its own"
            )
