"""DenseImageData: images with an image of labels each (SegNet)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError
from dualnet.engine.formats.image import read_image, resize
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.data.prefetched import PrefetchedLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records.served_list import ServedList, read_lines
from dualnet.engine.records.transform import DataTransformer

__all__ = ["DenseImageData"]

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Entry:
    """One line of the list: the paths of an image and of its labels."""

    image: str
    labels: str
    where: str


@register("DenseImageData")
class DenseImageData(PrefetchedLayer):
    """Tops: images (N, C, H, W), BGR as OpenCV gives them, and labels (N, 1, H, W).

    `source` lists two paths a line. A label image is read as gray values, resized to the nearest
    pixel, and mirrored and cropped as its image is; mean and scale leave it alone. The fork allows
    neither crop_size nor mirror in transform_param, and crops at random in TEST too.
    """

    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the list; the first image gives the shape."""
        param = self.layer_param.dense_image_data_param
        transform = self.layer_param.transform_param
        if not param.batch_size:
            self._refuse("needs batch_size above 0")
        for first, second in (("new_height", "new_width"), ("crop_height", "crop_width")):
            if bool(getattr(param, first)) != bool(getattr(param, second)):
                self._refuse(f"needs {first} and {second}, or neither")
        if transform.crop_size or transform.mirror:
            self._refuse("goes with neither crop_size nor mirror of transform_param; use its own")
        transformer = DataTransformer(transform, self.phase, self.name)
        draws = param.shuffle or param.rand_skip or param.mirror or param.crop_height
        draw = random.numpy_generator() if draws else None
        source = _Source(self.name, param, transformer, draw)
        shape = transformer.output_shape(source.first_shape())
        size = (param.crop_height or shape[1], param.crop_width or shape[2])
        self._source = source
        top[0].reshape(param.batch_size, shape[0], *size)
        top[1].reshape(param.batch_size, 1, *size)

    def _refuse(self, reason: str) -> None:
        raise PrototxtError(f"layer '{self.name}': dense_image_data_param {reason}")


class _Source:
    """Endless batches of a list's images and labels; runs in the prefetch thread."""

    def __init__(
        self,
        name: str,
        param: caffe_pb2.DenseImageDataParameter,
        transformer: DataTransformer,
        draw: np.random.Generator | None,
    ) -> None:
        self._param = param
        self._transformer = transformer
        self._draw = draw
        self._served = ServedList(name, param, _read_list(name, param), draw)

    def first_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the image that comes first."""
        channels, height, width = self._load(self._served.first)[0].shape
        return channels, height, width

    def batches(self) -> Iterator[Pair]:
        """Yields (images (N, C, H, W) float32, labels (N, 1, H, W) float32)."""
        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for entry in self._served.endless():
            image, label = self._varied(*self._load(entry), where=entry.where)
            self._transformer.output_shape((image.shape[0], image.shape[1], image.shape[2]))
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{entry.where}: '{entry.image}' has shape {image.shape}, the images before it "
                    f"in the batch {images[0].shape}; set new_height and new_width, or batch_size 1"
                )
            images.append(image)
            labels.append(label)
            if len(images) == self._param.batch_size:
                yield self._transformer.batch(images), np.stack(labels).astype(np.float32)
                images, labels = [], []

    def _load(self, entry: _Entry) -> Pair:
        """(C, H, W) and (1, H, W) uint8, resized if asked for."""
        image = read_image(entry.image, entry.where, self._param.is_color)
        labels = read_image(entry.labels, entry.where, False)
        height, width = self._param.new_height, self._param.new_width
        if height:
            image = resize(image, height, width)
            rows, columns = (
                (np.arange(new) * (old / new)).astype(int).clip(max=old - 1)
                for new, old in zip((height, width), labels.shape)
            )
            labels = labels[rows[:, None], columns]
        if image.shape[:2] != labels.shape[:2]:
            raise DataError(
                f"{entry.where}: '{entry.image}' has size {image.shape[:2]}, its labels "
                f"'{entry.labels}' {labels.shape[:2]}; they must agree"
            )
        return (
            np.ascontiguousarray(image.transpose(2, 0, 1)),
            np.ascontiguousarray(labels.reshape(1, *labels.shape[:2])),
        )

    def _varied(self, image: np.ndarray, labels: np.ndarray, where: str) -> Pair:
        """Both mirrored or not, and cropped at one place."""
        if self._draw is None:
            return image, labels
        if self._param.mirror and self._draw.integers(2):
            image, labels = image[:, :, ::-1], labels[:, :, ::-1]
        height, width = self._param.crop_height, self._param.crop_width
        if height:
            if height > image.shape[1] or width > image.shape[2]:
                raise DataError(
                    f"{where}: an image of size {image.shape[1:]} is smaller than crop_height "
                    f"{height} and crop_width {width}"
                )
            top = int(self._draw.integers(image.shape[1] - height + 1))
            left = int(self._draw.integers(image.shape[2] - width + 1))
            image = image[:, top : top + height, left : left + width]
            labels = labels[:, top : top + height, left : left + width]
        return image, labels


def _read_list(name: str, param: caffe_pb2.DenseImageDataParameter) -> list[_Entry]:
    source, root = param.source, param.root_folder
    lines = read_lines(name, "dense_image_data_param.source", source)
    entries = []
    for number, line in enumerate(lines, 1):
        where = f"layer '{name}', '{source}', line {number}"
        paths = line.split()
        if len(paths) not in (0, 2):
            raise DataError(
                f"{where}: expected two paths without spaces, of an image and of its labels, "
                f"got '{line}'"
            )
        if paths:
            entries.append(_Entry(root + paths[0], root + paths[1], where))
    if not entries:
        raise DataError(f"layer '{name}': '{source}' is empty; write two paths a line")
    return entries
