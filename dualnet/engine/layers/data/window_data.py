"""WindowData: regions of images for detection (Caffe `L/window_data_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dualnet.engine import log
from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.data.prefetched import PrefetchedLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records.transform import read_mean
from dualnet.engine.records.window_cutter import Cutter
from dualnet.engine.records.window_file import Window, WindowFile

__all__ = ["WindowData"]

_CHANNELS = 3  # images are always read in colour


@register("WindowData")
class WindowData(PrefetchedLayer):
    """Tops: windows (N, 3, crop_size, crop_size), BGR, and labels (N,), 0 for background.

    A batch has N - int(N * fg_fraction) background windows, then int(N * fg_fraction) objects, each
    drawn at random. Windows are warped to the crop's size, with `context_pad` pixels of their
    surroundings on each side; what lies outside the image is 0. The mean's central part is
    subtracted. Both phases do the same. As in Caffe, the scale is that of `window_data_param`.
    """

    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param, transform = self.layer_param.window_data_param, self.layer_param.transform_param
        size = transform.crop_size
        if not param.batch_size or not size:
            raise PrototxtError(
                f"layer '{self.name}': WindowData needs window_data_param.batch_size and "
                f"transform_param.crop_size above 0, they are {param.batch_size} and {size}"
            )
        if param.crop_mode not in ("warp", "square"):
            raise PrototxtError(
                f"layer '{self.name}': crop_mode must be 'warp' or 'square', it is "
                f"'{param.crop_mode}'"
            )
        if 2 * param.context_pad >= size:
            raise PrototxtError(
                f"layer '{self.name}': context_pad {param.context_pad} on each side leaves nothing "
                f"of crop_size {size}; it must be below half of it"
            )
        # In single precision, as Caffe multiplies: 0.7 of 90 is 63, in double precision 62.9…
        objects = int(np.float32(param.batch_size) * np.float32(param.fg_fraction))
        if not 0 <= objects <= param.batch_size:
            raise PrototxtError(
                f"layer '{self.name}': fg_fraction must be from 0 to 1, it is {param.fg_fraction:g}"
            )
        windows = WindowFile(self.name, param)
        mean = _mean(self.name, transform, size)
        square = param.crop_mode == "square"
        if transform.scale != 1:
            log.warning(
                f"layer '{self.name}': transform_param.scale {transform.scale:g} has no effect on "
                f"WindowData, as in BVLC Caffe; window_data_param.scale, {param.scale:g}, has"
            )
        cutter = Cutter(self.name, size, param.context_pad, square, mean, param.scale)
        source = _Source(windows, cutter, transform.mirror, param.batch_size - objects, objects)
        source.check(self.name, param)
        self._source = source
        top[0].reshape(param.batch_size, _CHANNELS, size, size)
        top[1].reshape(param.batch_size)


class _Source:
    """Endless batches of windows; runs in the prefetch thread."""

    def __init__(
        self, windows: WindowFile, cutter: Cutter, mirror: bool, backgrounds: int, objects: int
    ) -> None:
        self._windows = windows
        self._cutter = cutter
        self._mirror = mirror
        self._needed = ((windows.backgrounds, backgrounds), (windows.objects, objects))
        self._draw = random.numpy_generator()

    def check(self, name: str, param: caffe_pb2.WindowDataParameter) -> None:
        """Raises where a batch needs windows of a kind that the file lacks."""
        conditions = (
            f"background (overlap below bg_threshold {param.bg_threshold:g})",
            f"object (overlap of fg_threshold {param.fg_threshold:g} or more)",
        )
        for (found, needed), condition in zip(self._needed, conditions):
            if needed and not found:
                raise DataError(
                    f"layer '{name}': a batch has {needed} {condition} windows, '{param.source}' "
                    "has none; change the threshold or fg_fraction"
                )

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (windows (N, 3, S, S) float32, labels (N,) float32)."""
        while True:
            chosen = [
                found[self._draw.integers(len(found))]
                for found, needed in self._needed
                for _ in range(needed)
            ]
            labels = np.array([window.label for window in chosen], np.float32)
            yield np.stack([self._cut(window) for window in chosen]), labels

    def _cut(self, window: Window) -> np.ndarray:
        mirror = bool(self._mirror and self._draw.integers(2))
        return self._cutter.cut(self._windows.image(window), window, mirror)


def _mean(name: str, transform: caffe_pb2.TransformationParameter, size: int) -> np.ndarray | None:
    """The mean of a crop, (3, S, S) or (C, 1, 1): the central part of a mean image."""
    if transform.HasField("mean_file"):
        if transform.mean_value:
            raise PrototxtError(
                f"layer '{name}': cannot specify mean_file and mean_value at the same time"
            )
        mean = read_mean(transform.mean_file)
        if mean.shape[0] != _CHANNELS or min(mean.shape[1:]) < size:
            raise ShapeError(
                f"layer '{name}': the mean '{transform.mean_file}' has shape {mean.shape}, the "
                f"windows need ({_CHANNELS}, {size}, {size}) or more"
            )
        # Caffe takes the width's offset for both axes; mean images are square in practice.
        start = (mean.shape[2] - size) // 2
        central = mean[:, start : start + size, start : start + size]
        if central.shape[1] < size:
            raise ShapeError(
                f"layer '{name}': the mean '{transform.mean_file}' of shape {mean.shape} must be "
                f"square to have a central part of {size} x {size}"
            )
        return central
    if not transform.mean_value:
        return None
    if len(transform.mean_value) not in (1, _CHANNELS):
        raise PrototxtError(
            f"layer '{name}': specify either 1 mean_value or as many as channels: {_CHANNELS}, "
            f"there are {len(transform.mean_value)}"
        )
    return np.array(transform.mean_value, np.float32).reshape(-1, 1, 1)
