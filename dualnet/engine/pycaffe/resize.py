"""Image resizing with the numbers of pycaffe's `io.resize_image`, which are scikit-image's.

pycaffe maps an image's range to [0, 1] and lets scikit-image (0.15 or newer) resize it: pixel
centres align, a Gaussian blurs what shrinks, and beyond the border lie zeros, which darken the
outermost pixels of an enlarged image. Images with other than 1 or 3 channels go through SciPy's
zoom instead, where the corners' centres align. All of it is linear along each axis, hence one
matrix an axis.
"""

from __future__ import annotations

import math

import numpy as np

from dualnet.engine.errors import UnsupportedError

__all__ = ["resize", "zoom"]


def resize(image: np.ndarray, rows: int, columns: int, order: int) -> np.ndarray:
    """Resizes with aligned pixel centres, a blur where it shrinks, and zeros beyond the border.

    Args:
        image: (H, W, K) with 0 as its lowest value, so that the border's zeros are in its range.
        rows: H'.
        columns: W'.
        order: 0 nearest, 1 linear, 3 cubic.

    Returns:
        (H', W', K) float64.
    """
    height, width = image.shape[:2]
    source = _apply(_blur(height, height / rows), _blur(width, width / columns), image)
    down = _interpolation(height, _centres(height, rows), order)
    across = _interpolation(width, _centres(width, columns), order)
    result = _apply(down, across, source)
    # Clipped to the range after the blur, except for pixels wholly beyond the border: they stay 0.
    return np.where(result == 0, 0, np.clip(result, source.min(), source.max()))


def zoom(image: np.ndarray, rows: int, columns: int, order: int) -> np.ndarray:
    """Resizes with aligned corners; see `resize`.

    Raises:
        UnsupportedError: the order is above 1; SciPy fits splines then.
    """
    if order > 1:
        raise UnsupportedError(
            f"resize_image: an image of {image.shape[2]} channels needs interp_order 0 or 1, it is "
            f"{order}; resize the channels one by one"
        )
    down, across = (
        _interpolation(size, np.arange(new) * ((size - 1) / max(new - 1, 1)), order)
        for size, new in ((image.shape[0], rows), (image.shape[1], columns))
    )
    return _apply(down, across, image)


def _apply(down: np.ndarray, across: np.ndarray, image: np.ndarray) -> np.ndarray:
    return np.einsum("ih,hwk,jw->ijk", down, image.astype(np.float64), across, optimize=True)


def _centres(size: int, new: int) -> np.ndarray:
    """Where the new pixels' centres lie among the old ones."""
    return (np.arange(new) + 0.5) * (size / new) - 0.5


def _blur(size: int, factor: float) -> np.ndarray:
    """The Gaussian that keeps a shrunk image from aliasing, (size, size)."""
    sigma = max(0.0, (factor - 1) / 2)
    if sigma == 0:
        return np.eye(size)
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    distance = np.arange(size)[None, :] - np.arange(size)[:, None]
    inside = np.abs(distance) <= radius
    return np.where(inside, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)


def _interpolation(size: int, places: np.ndarray, order: int) -> np.ndarray:
    """The weight of each old pixel in each new one, (len(places), size); zeros lie beyond."""
    weights = np.zeros((len(places), size))
    for row, place in enumerate(places):
        if order == 0:
            # Halves go up; the small addend keeps rounding errors of `place` from deciding.
            taps = {math.floor(place + 0.5 + 1e-9): 1.0}
        else:
            left = math.floor(place)  # of the linear pair; the cubic four begin one before it
            taps = dict(enumerate(_taps(place - left, order), left - (order == 3)))
        for index, weight in taps.items():
            if 0 <= index < size:
                weights[row, index] += weight
    return weights


def _taps(x: float, order: int) -> list[float]:
    """Interpolation weights for a place at fraction x between two pixels.

    Returns:
        Linear (order 1): of the 2 pixels around it. Catmull-Rom cubic (order 3): of the 4.
    """
    if order == 1:
        return [1 - x, x]
    if order != 3:
        raise UnsupportedError(
            f"resize_image: interp_order {order} is not available; use 0 (nearest), 1 (linear) or "
            "3 (cubic)"
        )
    return [
        0.5 * x * (-1 + x * (2 - x)),
        1 + 0.5 * x * x * (-5 + 3 * x),
        0.5 * x * (1 + x * (4 - 3 * x)),
        0.5 * x * x * (x - 1),
    ]
