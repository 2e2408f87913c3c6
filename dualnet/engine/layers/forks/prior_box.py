"""PriorBox: the default boxes of a feature map (SSD)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["PriorBox"]

_EQUAL = 1e-6


@register("PriorBox")
class PriorBox(Layer):
    """Boxes around the centre of every pixel of a map, in fractions of the image.

    Bottoms: the map (N, C, H, W) and the image (N, C', H', W'), whose sizes alone count. Top:
    (1, 2, H * W * boxes * 4): the corners xmin, ymin, xmax, ymax of each box, then their variances.
    For each min_size, in this order: a square of it; a square of sqrt(min_size max_size); a box of
    each aspect ratio but 1. The fork cuts sizes to whole pixels, and so does this. No gradient.
    """

    bottoms = 2
    tops = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.prior_box_param
        least, most = list(param.min_size), list(param.max_size)
        if not least or min(least) <= 0:
            self._refuse(f"needs min_size above 0, it is {least}")
        if most and (len(most) != len(least) or any(a >= b for a, b in zip(least, most))):
            self._refuse(f"needs a larger max_size for each min_size {least} or none, it is {most}")
        self._sides = self._boxes(least, most, self._ratios())
        self._variance = np.array(list(param.variance) or [0.1], np.float32)
        if len(self._variance) not in (1, 4) or self._variance.min() <= 0:
            self._refuse(f"needs no, one or four variance above 0, they are {list(param.variance)}")
        self._image = self._pair("img_size", "img_h", "img_w")
        self._step = self._pair("step", "step_h", "step_w")
        self._clip: bool = param.clip
        self._offset = np.float32(param.offset)

    def _refuse(self, reason: str) -> None:
        raise PrototxtError(f"layer '{self.name}': prior_box_param {reason}")

    def _ratios(self) -> list[float]:
        param = self.layer_param.prior_box_param
        ratios = [1.0]
        for ratio in param.aspect_ratio:
            if ratio <= 0:
                self._refuse(f"needs aspect_ratio above 0, one is {ratio:g}")
            if all(abs(ratio - other) >= _EQUAL for other in ratios):
                ratios += [ratio, float(np.float32(1.0 / ratio))] if param.flip else [ratio]
        return ratios[1:]

    def _boxes(
        self, least: list[float], most: list[float], ratios: list[float]
    ) -> NDArray[np.float32]:
        """(boxes, 2) widths and heights in pixels of the image."""
        sides: list[tuple[float, float]] = []
        for index, size in enumerate(map(int, least)):
            sides.append((size, size))
            if most:
                middle = np.sqrt(size * int(most[index]))
                sides.append((middle, middle))
            sides += [(size * np.sqrt(ratio), size / np.sqrt(ratio)) for ratio in ratios]
        return np.array(sides, np.float32)

    def _pair(self, common: str, height: str, width: str) -> tuple[float, float] | None:
        """(height, width) from one field or two; None where the bottoms say it."""
        param = self.layer_param.prior_box_param
        if not any(param.HasField(field) for field in (common, height, width)):
            return None
        if param.HasField(common):
            found = getattr(param, common), getattr(param, common)
        else:
            found = getattr(param, height), getattr(param, width)
        both = param.HasField(common) and (param.HasField(height) or param.HasField(width))
        if both or min(found) <= 0:
            self._refuse(f"needs {common}, or {height} and {width}, above 0 and not both kinds")
        return found

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """As many boxes as pixels times kinds."""
        for index, blob in enumerate(bottom):
            if len(blob.dims) != 4:
                raise ShapeError(
                    f"layer '{self.name}' (PriorBox): bottom {index} must have 4 axes (N, C, H, W),"
                    f" it has shape {blob.dims}"
                )
        height, width = bottom[0].dims[2:]
        top[0].reshape(1, 2, height * width * len(self._sides) * 4)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the boxes; they depend on the shapes alone."""
        size = np.array(bottom[0].dims[2:], np.float32)
        image = np.array(self._image or bottom[1].dims[2:], np.float32)
        step = image / size if self._step is None else np.array(self._step, np.float32)
        rows, columns = (
            (np.arange(n, dtype=np.float32) + self._offset) * s for n, s in zip(size, step)
        )
        centre = np.stack(np.meshgrid(columns, rows), axis=-1)[:, :, None]  # (H, W, 1, 2): x, y
        half = self._sides.astype(np.float64) / 2
        corners = np.concatenate([centre - half, centre + half], axis=-1) / np.tile(image[::-1], 2)
        boxes = (corners.clip(0, 1) if self._clip else corners).astype(np.float32).reshape(-1)
        variances = np.broadcast_to(self._variance, (boxes.size // 4, 4)).reshape(-1)
        result = torch.from_numpy(np.stack([boxes, variances]))
        top[0].set_data(result.to(bottom[0].data_tensor.device))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """The boxes do not depend on values."""
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.clear_diff()
