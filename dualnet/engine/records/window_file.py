"""The window file of WindowData: images, and rectangles in them with their classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dualnet.engine.errors import DataError
from dualnet.engine.formats.image import read_image
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.proto import caffe_pb2

__all__ = ["Window", "WindowFile"]


@dataclass(frozen=True)
class Window:
    """A rectangle of an image.

    Attributes:
        image: the number of the image.
        label: the class, 0 for background.
        x1: the left column; `y1` the top row.
        x2: the right column, which still belongs to the window; `y2` the bottom row.
    """

    image: int
    label: int
    x1: int
    y1: int
    x2: int
    y2: int


class WindowFile:
    """The windows of a file, and the images that they lie in.

    The file has, for each image, separated by white space: `# NUMBER` (from 0, in order), path,
    channels, height, width, number of windows, then for each window: class, overlap with the
    object, x1, y1, x2, y2.

    Args:
        name: the layer, for messages.
        param: its settings.

    Attributes:
        objects: windows whose overlap is `fg_threshold` or more.
        backgrounds: windows whose overlap is below `bg_threshold`, labelled 0.

    Raises:
        DataError: the file is missing, or written otherwise.
    """

    def __init__(self, name: str, param: caffe_pb2.WindowDataParameter) -> None:
        self.objects: list[Window] = []
        self.backgrounds: list[Window] = []
        self._name = name
        self._source: str = param.source
        self._paths: list[str] = []
        self._thresholds = param.fg_threshold, param.bg_threshold
        try:
            with open(
                self._source, encoding="utf-8", errors="surrogateescape", opener=regular_only
            ) as stream:
                words = iter(stream.read().split())
        except OSError as error:
            raise DataError(
                f"layer '{name}': cannot read window_data_param.source '{self._source}': "
                f"{error.strerror} (the working directory is '{os.getcwd()}')"
            ) from error
        for mark in words:
            if mark != "#":
                raise self._problem(f"expected '#', got '{mark}'")
            try:
                self._read_image_entry(words, param.root_folder)
            except (StopIteration, ValueError) as error:
                reason = str(error) or "the file ends within it"
                raise self._problem(f"its entry is incomplete or not a number: {reason}") from error
        if not self._paths:
            raise DataError(f"layer '{name}': window file '{self._source}' is empty")
        self._contents = [self._load(path) for path in self._paths] if param.cache_images else None

    def image(self, window: Window) -> np.ndarray:
        """The image that a window lies in, (H, W, 3) uint8 in BGR order."""
        path = self._paths[window.image]
        content = None if self._contents is None else self._contents[window.image]
        return read_image(path, f"layer '{self._name}', '{self._source}'", content=content)

    def _read_image_entry(self, words: Iterator[str], root_folder: str) -> None:
        number, path = int(next(words)), root_folder + next(words)
        channels = int(next(words))
        next(words), next(words)  # height and width: the image's own are used
        if number != len(self._paths):
            raise self._problem(f"its number is {number}; images are numbered from 0 in order")
        if channels != 3:
            raise self._problem(f"'{path}' is said to have {channels} channels; windows have 3")
        for _ in range(int(next(words))):
            label, overlap = int(next(words)), float(next(words))
            x1, y1, x2, y2 = (int(next(words)) for _ in range(4))
            self._sort(Window(number, label, x1, y1, x2, y2), overlap)
        self._paths.append(path)

    def _sort(self, window: Window, overlap: float) -> None:
        """Files the window as object, as background, or not at all."""
        if overlap >= self._thresholds[0]:
            if window.label <= 0:
                raise self._problem(
                    f"an object window has class {window.label}; objects are numbered from 1"
                )
            self.objects.append(window)
        elif overlap < self._thresholds[1]:
            place = window.x1, window.y1, window.x2, window.y2
            self.backgrounds.append(Window(window.image, 0, *place))

    def _load(self, path: str) -> bytes:
        try:
            with open(path, "rb", opener=regular_only) as stream:
                return stream.read()
        except OSError as error:
            raise DataError(
                f"layer '{self._name}', '{self._source}': cannot read image '{path}': "
                f"{error.strerror}"
            ) from error

    def _problem(self, what: str) -> DataError:
        return DataError(
            f"layer '{self._name}': window file '{self._source}', image {len(self._paths)}: {what}"
        )
