"""A net that classifies windows of images (pycaffe's `python/caffe/detector.py`, as in R-CNN)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dualnet.engine.errors import DataError, ShapeError
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST
from dualnet.engine.pycaffe import io
from dualnet.engine.pycaffe.classifier import image_transformer

__all__ = ["Detector"]


class Detector(Net):
    """A net with one image input, ready to classify windows.

    Args:
        model_file: the deploy prototxt.
        pretrained_file: its weights.
        mean: see `classifier.image_transformer`, as are the three that follow.
        input_scale: factor after the mean.
        raw_scale: factor before the mean.
        channel_swap: order of channels.
        context_pad: how many of the input's pixels on each side show the window's surroundings.
    """

    def __init__(
        self,
        model_file: Path,
        pretrained_file: Path,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def configure_crop(self, context_pad: int | None) -> None:
        """Sets the context padding, and the fill value for pixels outside the image.

        The fill value is the mean, so that preprocessing makes those pixels zero.

        Args:
            context_pad: see the class; None or 0 for none.
        """
        name = self.inputs[0]
        channels, height, width = self.blobs[name].data.shape[1:]
        self.crop_dims = np.array([height, width, channels])
        self.context_pad = context_pad
        if not context_pad:
            return
        mean = self.transformer.mean.get(name)
        if mean is None:
            self.crop_mean = np.zeros(self.crop_dims, dtype=np.float32)
            return
        # The mean as an input image would have it, so that preprocessing turns it into zero.
        outside = np.array(mean, dtype=np.float32).transpose(1, 2, 0)
        order = self.transformer.channel_swap.get(name)
        if order is not None:
            outside = outside[:, :, np.argsort(order)]
        scale = self.transformer.raw_scale.get(name)
        self.crop_mean = outside / np.float32(scale) if scale else outside

    def crop(self, im: np.ndarray, window: Sequence[float]) -> np.ndarray:
        """Cuts a window, with its surroundings where they are configured.

        Args:
            im: (H, W, K) float32.
            window: ymin, xmin, ymax, xmax in pixels.

        Returns:
            The window's pixels, (h, w, K); with context an image of the input's size.

        Raises:
            ShapeError: the window lies outside of the image.
        """
        y0, x0, y1, x1 = (int(v) for v in window)
        if not self.context_pad:
            return im[y0:y1, x0:x1]
        size = int(self.blobs[self.inputs[0]].width)  # inputs are square
        rows = _ContextSpan(y0, y1, im.shape[0], size, self.context_pad)
        columns = _ContextSpan(x0, x1, im.shape[1], size, self.context_pad)
        if rows.last <= rows.first or columns.last <= columns.first:
            raise ShapeError(
                f"window {tuple(window)} lies outside of an image of {im.shape[0]} x "
                f"{im.shape[1]} pixels; give ymin, xmin, ymax, xmax"
            )
        seen = im[rows.first : rows.last, columns.first : columns.last]
        result = np.ones(self.crop_dims, dtype=np.float32) * self.crop_mean
        result[rows.target, columns.target] = io.resize_image(seen, (rows.count, columns.count))
        return result

    def detect_windows(
        self, images_windows: Iterable[tuple[str, Sequence[Sequence[float]]]]
    ) -> list[dict[str, Any]]:
        """Classifies windows of images.

        Args:
            images_windows: pairs of a file name and its windows (see `crop`).

        Returns:
            For each window a dict of `window`, `prediction` ((C,) float32) and `filename`.
        """
        pairs = list(images_windows)
        crops = []
        for filename, windows in pairs:
            image = io.load_image(filename).astype(np.float32)
            crops += [self.crop(image, window) for window in windows]
        if not crops:
            return []
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        batches: dict[str, Any] = {name: batch}
        predictions = self.forward_all(**batches)[self.outputs[0]]
        named = [(window, filename) for filename, windows in pairs for window in windows]
        return [
            {"window": window, "prediction": predictions[index], "filename": filename}
            for index, (window, filename) in enumerate(named)
        ]

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """Classifies the windows that Selective Search proposes.

        Args:
            image_fnames: image files.

        Raises:
            DataError: the module that runs Selective Search in MATLAB is not installed.
        """
        try:
            import selective_search_ijcv_with_python as selective_search  # type: ignore
        except ImportError as error:
            raise DataError(
                "detect_selective_search needs the module selective_search_ijcv_with_python (and "
                "MATLAB); propose windows yourself and call detect_windows"
            ) from error
        windows = selective_search.get_windows(image_fnames, cmd="selective_search_rcnn")
        return self.detect_windows(zip(image_fnames, windows))


class _ContextSpan:
    """One axis of a window with context: the part of the image in it, and its place in the input.

    pycaffe's detector.py rounds halves to even, as NumPy does, in float64. WindowData clips the
    same kind of window by other rules: see `records.window_cutter._ClippedSpan`.

    Args:
        low: where the window begins.
        high: where it ends.
        length: the image's size.
        size: the input's size.
        pad: how many pixels of the input are context, on each side.

    Attributes:
        first: where the part inside the image begins.
        last: where it ends.
        count: its size in the input.
        target: its place in the input.
    """

    def __init__(self, low: int, high: int, length: int, size: int, pad: int) -> None:
        half = (high - low + 1) / 2
        centre = low + half
        reach = half * size / (size - 2 * pad)  # the window fills all but the pad
        begin, end = np.round(centre - reach), np.round(centre + reach)
        scale = size / (end - begin + 1)
        outside = int(np.round(max(0.0, -begin) * scale))
        self.first, self.last = int(np.clip(begin, 0, length)), int(np.clip(end, 0, length))
        count = int(np.round((self.last - self.first + 1) * scale))
        self.count = min(count, size - outside)
        self.target = slice(outside, outside + self.count)
