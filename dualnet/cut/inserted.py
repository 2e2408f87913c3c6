"""Which layers of a built net are the prototxt's, and which are Split layers that Caffe put in.

A net's dicts (`params`, `top_names`, `layer_dict`) have one entry a name, and several layers may
have one name or none. So layers are told apart by their place among the prototxt's of the phase.
"""

from __future__ import annotations

from typing import Any

__all__ = ["blobs_of", "numbers_of", "places_of"]


def blobs_of(net: Any, kind: str) -> list[list[str]]:
    """For each of a net's layers the names of its `bottom` or `top` blobs."""
    names = [str(name) for name in net._blob_names]
    ids = getattr(net, f"_{kind}_ids")
    return [[names[i] for i in ids(number)] for number in range(len(net.layers))]


def numbers_of(net: Any) -> list[int]:
    """For each of the prototxt's layers its number in the net."""
    names, tops, bottoms = net._layer_names, blobs_of(net, "top"), blobs_of(net, "bottom")
    return [
        number
        for number, layer in enumerate(net.layers)
        if not (
            str(layer.type) == "Split"
            and _is_inserted(str(names[number]), tops[number], bottoms[number][0])
        )
    ]


def places_of(net: Any) -> list[int]:
    """For each of the net's layers the place of the prototxt's layer that it belongs to.

    A Split layer that Caffe put in belongs to the layer before it.
    """
    own = set(numbers_of(net))
    places: list[int] = []
    for number in range(len(net.layers)):
        places.append((places[-1] if places else -1) + (number in own))
    return places


def _is_inserted(name: str, tops: list[str], bottom: str) -> bool:
    """Whether a Split layer is named as Caffe names its own (insert_splits.cpp)."""
    return (
        name.endswith("_split")
        and name.startswith(f"{bottom}_")
        and tops == [f"{name}_{i}" for i in range(len(tops))]
    )
