"""Regions of interest on a feature map: how Fast R-CNN and R-FCN round them into bins.

Both forks compute in single precision, which decides whether a bin that ends near a pixel's edge
holds that pixel; so does this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import DataError, ShapeError
from dualnet.engine.layers.base import Layer

__all__ = ["Bins", "Floats", "Ints", "Spans", "check_regions", "fit", "half_away", "read_regions"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Bins:
    """One axis of the bins of R regions, clipped to the map.

    Attributes:
        start: (R, bins) first pixel.
        end: (R, bins) the pixel after the last; at most `start` where a bin is empty.
    """

    start: Ints
    end: Ints

    def of(self, region: int) -> Spans:
        """A region's bins: pairs of first pixel and the pixel after the last."""
        return list(zip(self.start[region].tolist(), self.end[region].tolist()))


def check_regions(layer: Layer, features: Blob, regions: Blob) -> None:
    """Raises ShapeError unless there are features (N, C, H, W) and regions of five numbers."""
    if len(features.dims) != 4:
        raise ShapeError(
            f"layer '{layer.name}' ({layer.type}): bottom 0 must have 4 axes (N, C, H, W), it has "
            f"shape {features.dims}"
        )
    dims = regions.dims
    if not dims or regions.count != 5 * dims[0]:
        raise ShapeError(
            f"layer '{layer.name}' ({layer.type}): bottom 1 must hold regions (R, 5), each image, "
            f"x1, y1, x2, y2; it has shape {dims}"
        )


def read_regions(layer: Layer, features: Blob, regions: Blob) -> tuple[Ints, Floats]:
    """The regions, on the CPU.

    Args:
        layer: for messages.
        features: (N, C, H, W).
        regions: R regions of five numbers.

    Returns:
        (R,) the number of the image; (R, 4) x1, y1, x2, y2 in pixels of the image.

    Raises:
        DataError: an image that the batch does not have, or a coordinate that is NaN or infinite.
    """
    values = regions.data_tensor.reshape(-1, 5).cpu().numpy()
    if not np.isfinite(values).all():
        wrong = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(
            f"layer '{layer.name}' ({layer.type}): region {wrong} is {values[wrong].tolist()}; "
            "its five numbers must be finite"
        )
    images = values[:, 0].astype(np.int64)
    if len(images) and not (images.min() >= 0 and images.max() < features.dims[0]):
        wrong = int(np.flatnonzero((images < 0) | (images >= features.dims[0]))[0])
        raise DataError(
            f"layer '{layer.name}' ({layer.type}): region {wrong} is of image {images[wrong]}, the "
            f"batch has {features.dims[0]} (0 to {features.dims[0] - 1})"
        )
    return images, values[:, 1:]


def half_away(values: Floats) -> Floats:
    """C's `round`: halves go away from zero."""
    wide = values.astype(np.float64)
    return (np.sign(wide) * np.floor(np.abs(wide) + 0.5)).astype(np.float32)


def fit(start: Floats, end: Floats, offset: Ints, size: int) -> Bins:
    """Whole pixels of bins given in fractions, moved by an offset and clipped.

    Args:
        start: (R, bins) where bins begin; rounded down.
        end: (R, bins) where they end; rounded up.
        offset: (R, 1) added after the rounding.
        size: pixels of the map along the axis.
    """
    first = np.floor(start).astype(np.int64) + offset
    last = np.ceil(end).astype(np.int64) + offset
    return Bins(np.clip(first, 0, size), np.clip(last, 0, size))
