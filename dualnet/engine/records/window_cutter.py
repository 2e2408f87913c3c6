"""Cutting WindowData's windows out of images, with context, warped to one size (R-CNN's rules)."""

from __future__ import annotations

import math

import numpy as np

from dualnet.engine.errors import DataError
from dualnet.engine.formats.image import resize
from dualnet.engine.records.window_file import Window

__all__ = ["Cutter"]


class Cutter:
    """Turns windows into crops.

    Args:
        name: the layer, for messages.
        size: height and width of a crop.
        context_pad: pixels of a crop, on each side, that show the window's surroundings.
        square: widen windows to squares first, so that warping keeps proportions.
        mean: (3, size, size) or (C, 1, 1), subtracted where there is image; None for none.
        scale: multiplies the result.
    """

    def __init__(
        self,
        name: str,
        size: int,
        context_pad: int,
        square: bool,
        mean: np.ndarray | None,
        scale: float,
    ) -> None:
        self._name = name
        self._size = size
        self._expands = bool(context_pad or square)
        self._square = square
        # The window itself is to fill what context_pad leaves of the crop: it grows by this factor.
        self._context_scale = np.float32(size) / np.float32(size - 2 * context_pad)
        self._mean = mean
        self._scale = np.float32(scale)

    def cut(self, image: np.ndarray, window: Window, mirror: bool) -> np.ndarray:
        """One crop.

        Args:
            image: (H, W, 3) uint8.
            window: the rectangle.
            mirror: flip left to right, after warping.

        Returns:
            (3, size, size) float32; 0 where the crop shows what lies outside the image.

        Raises:
            DataError: the window lies outside the image.
        """
        rows, columns = image.shape[:2]
        xs, ys = (window.x1, window.x2), (window.y1, window.y2)
        if self._expands:
            xs, ys = self._expanded(xs, ys)
        x, y = _ClippedSpan(*xs, columns, self._size), _ClippedSpan(*ys, rows, self._size)
        inside = self._expands or (x.within and y.within)
        if not inside or x.last < x.first or y.last < y.first:
            raise DataError(
                f"layer '{self._name}': window x {window.x1} to {window.x2}, y {window.y1} to "
                f"{window.y2} does not fit image {window.image} of {columns} x {rows} pixels; "
                "correct the window file"
            )
        # Mirroring exchanges the margins to the left and to the right of the visible part.
        left = x.pad_after if mirror else x.pad_before
        top = y.pad_before
        width, height = min(x.warped, self._size - left), min(y.warped, self._size - top)
        result = np.zeros((image.shape[2], self._size, self._size), np.float32)
        if width <= 0 or height <= 0:
            return result  # the visible part rounds to zero pixels: the crop stays empty
        warped = resize(image[y.first : y.last + 1, x.first : x.last + 1], height, width)
        if mirror:
            warped = warped[:, ::-1]
        values = warped.transpose(2, 0, 1).astype(np.float32)
        place = slice(None), slice(top, top + height), slice(left, left + width)
        if self._mean is not None:
            values -= self._mean[place] if self._mean.shape[1] > 1 else self._mean
        result[place] = values * self._scale
        return result

    def _expanded(
        self, xs: tuple[int, int], ys: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The window with its context; computed in single precision, as Caffe does."""
        half_width = np.float32((xs[1] - xs[0] + 1) / 2)
        half_height = np.float32((ys[1] - ys[0] + 1) / 2)
        center_x, center_y = np.float32(xs[0]) + half_width, np.float32(ys[0]) + half_height
        if self._square:
            half_width = half_height = max(half_width, half_height)
        across, down = half_width * self._context_scale, half_height * self._context_scale
        return (
            (_round(center_x - across), _round(center_x + across)),
            (_round(center_y - down), _round(center_y + down)),
        )


class _ClippedSpan:
    """One axis of a window that may reach beyond the image, as WindowData clips it.

    Caffe's window_data_layer.cpp computes in float32 and rounds halves away from zero. pycaffe's
    detector.py clips the same kind of window by other rules: see `pycaffe.detector._ContextSpan`.

    Attributes:
        first: the first pixel that exists; `last` the last one.
        pad_before: pixels of the crop before it; `pad_after` those after.
        warped: pixels of the crop that it fills.
        within: whether the whole window exists.
    """

    def __init__(self, first: int, last: int, available: int, size: int) -> None:
        before, after = max(0, -first), max(0, last - available + 1)
        scale = np.float32(size) / np.float32(max(1, last - first + 1))
        self.first, self.last = first + before, last - after
        self.pad_before, self.pad_after = _round(before * scale), _round(after * scale)
        self.warped = _round((self.last - self.first + 1) * scale)
        self.within = not before and not after


def _round(value: float) -> int:
    """To the nearest integer, halves away from zero as in C."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))
