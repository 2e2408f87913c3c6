"""How coordinates of one blob map to those of another (pycaffe's `python/caffe/coord_map.py`).

A map is (axis, scale, shift): coordinate x of one blob lies at scale * x + shift of the other,
along the axes from `axis` on. Fully convolutional nets use it to crop one blob to another: `crop`.

For one convolution: pixel x of the top is computed from the window that begins at x * stride - pad
and is `extent` pixels long, hence from one whose centre is x * stride - pad + (extent - 1) / 2.
Solved for x, coordinate c of the bottom lies at (c + pad - (extent - 1) / 2) / stride of the top:
scale 1 / stride, shift (pad - (extent - 1) / 2) / stride. Deconvolution is the inverse.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from dualnet.engine.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "PASS_THROUGH_LAYERS",
    "AxisMismatchException",
    "Map",
    "UndefinedMapException",
    "compose",
    "conv_params",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "crop_params",
    "inverse",
]

#: (first axis or None where any will do, scale, shift); scale and shift a number or one per axis.
Map = tuple[Optional[int], Any, Any]

#: Layers that leave coordinates as they are.
PASS_THROUGH_LAYERS = [
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Dropout", "ELU", "Eltwise", "Exp", "LRN", "Log", "MVN",
    "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
]  # fmt: skip


class UndefinedMapException(Exception):
    """A layer type mixes or loses coordinates, so that no map exists."""


class AxisMismatchException(Exception):
    """Two maps that are to be composed start at different axes."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The geometry of a convolution, deconvolution or pooling.

    Returns:
        First spatial axis, stride, extent of the dilated kernel, padding.

    Raises:
        ValueError: sizes are given by the separate `_h` and `_w` fields.
    """
    params = fn.params.get("convolution_param", fn.params)
    separate = sorted(name for name in params if name.endswith(("_h", "_w")))
    if separate:
        raise ValueError(
            f"{fn.type_name}: cropping does not support {', '.join(separate)}; give kernel_size, "
            "stride and pad as lists"
        )

    def sizes(name: str, default: int | None) -> np.ndarray:
        return np.array(params[name] if default is None else params.get(name, default), ndmin=1)

    extent = (sizes("kernel_size", None) - 1) * sizes("dilation", 1) + 1
    return params.get("axis", 1), sizes("stride", 1), extent, sizes("pad", 0)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """The first axis that a Crop layer cuts, and its offsets."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map from a layer's bottom to its top.

    Raises:
        UndefinedMapException: the layer type has none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # a map's axis is the one before the first spatial one
    raise UndefinedMapException(
        f"layers of type {fn.type_name} have no coordinate map; those that have one are "
        f"Convolution, Deconvolution, Pooling, Im2col, Crop, {', '.join(PASS_THROUGH_LAYERS)}"
    )


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that follows `next_map` first and then `base_map`.

    Raises:
        AxisMismatchException: they start at different axes.
    """
    axis1, scale1, shift1 = base_map
    axis2, scale2, shift2 = next_map
    if axis1 is not None and axis2 is not None and axis1 != axis2:
        raise AxisMismatchException(f"maps start at axes {axis1} and {axis2}; they must agree")
    return axis2 if axis1 is None else axis1, scale1 * scale2, scale1 * shift2 + shift1


def inverse(coord_map: Map) -> Map:
    """The map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from one top to another that shares a spatial ancestor with it.

    Raises:
        RuntimeError: the tops are not connected by layers that have maps.
    """
    from_maps = _ancestor_maps(top_from)
    to_maps: dict[Top, Map] = {top_to: (None, 1, 0)}
    frontier = [top_to]
    while frontier:
        top = frontier.pop()
        if top in from_maps:
            return compose(to_maps[top], inverse(from_maps[top]))
        _step_back(top, to_maps, frontier)
    raise RuntimeError(
        "could not compute the map between two tops; are they connected by spatial layers?"
    )


def _ancestor_maps(start: Top) -> dict[Top, Map]:
    """Maps to a top from itself and from every top upstream of it."""
    maps: dict[Top, Map] = {start: (None, 1, 0)}
    frontier = [start]
    while frontier:
        _step_back(frontier.pop(), maps, frontier)
    return maps


def _step_back(top: Top, maps: dict[Top, Map], frontier: list[Top]) -> None:
    """Adds the bottoms that a top comes from; a Crop's second one gives a size, not coordinates."""
    try:
        one = coord_map(top.fn)
    except UndefinedMapException:
        return
    bottoms = top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs
    for bottom in bottoms:
        if bottom not in maps:
            maps[bottom] = compose(maps[top], one)
            frontier.append(bottom)


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that aligns one top with another.

    Args:
        top_from: what to cut.
        top_to: what to align it with.

    Raises:
        AssertionError: their scales differ, or the offset is negative or no integer. pycaffe's
            type, which its callers catch.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    if not np.all(np.asarray(scale) == 1):
        raise AssertionError(f"scale mismatch on crop: one step is {scale} steps; strides differ")
    if not np.all(np.asarray(shift) <= 0):
        raise AssertionError(f"cannot crop a negative offset: shift {shift}; enlarge the first top")
    if not np.all(np.round(shift) == shift):
        raise AssertionError(f"cannot crop a noninteger offset: shift {shift}; change the padding")
    offset = (-np.round(np.atleast_1d(shift))).astype(int).tolist()
    return layers.Crop(top_from, top_to, crop_param={"axis": (axis or 0) + 1, "offset": offset})
