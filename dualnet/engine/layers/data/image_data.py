"""ImageData: batches of image files (Caffe `L/image_data_layer.cpp`)."""

from __future__ import annotations

import re
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

__all__ = ["ImageData"]

Batch = tuple[np.ndarray, np.ndarray]


@register("ImageData")
class ImageData(PrefetchedLayer):
    """Tops: images (N, C, H, W), BGR as OpenCV gives them, and labels (N,).

    `source` lists a path and an integer label a line; the path may hold spaces. The list begins
    again at its end, reshuffled with `shuffle`; `rand_skip` begins at a random one of its first
    entries. Images of a batch must agree in size unless resized or cropped; batches may differ.
    """

    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the list; the first image gives the shape."""
        param = self.layer_param.image_data_param
        if not param.batch_size:
            raise PrototxtError(f"layer '{self.name}': image_data_param needs batch_size above 0")
        if bool(param.new_height) != bool(param.new_width):
            raise PrototxtError(
                f"layer '{self.name}': new_height and new_width must be set at the same time, they "
                f"are {param.new_height} and {param.new_width}"
            )
        transformer = DataTransformer(self.layer_param.transform_param, self.phase, self.name)
        draw = random.numpy_generator() if param.shuffle or param.rand_skip else None
        entries = _read_list(self.name, param.source, param.root_folder)
        self._source = _Source(self.name, param, entries, transformer, draw)
        shape = transformer.output_shape(self._source.first_shape())
        top[0].reshape(param.batch_size, *shape)
        top[1].reshape(param.batch_size)


@dataclass(frozen=True)
class _Entry:
    """One line of the list."""

    path: str
    label: int
    where: str


class _Source:
    """Endless batches of the images of a list; runs in the prefetch thread."""

    def __init__(
        self,
        name: str,
        param: caffe_pb2.ImageDataParameter,
        entries: list[_Entry],
        transformer: DataTransformer,
        draw: np.random.Generator | None,
    ) -> None:
        self._name = name
        self._param = param
        self._served = ServedList(name, param, entries, draw)
        self._transformer = transformer

    def first_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the image that comes first."""
        channels, height, width = self._load(self._served.first).shape
        return channels, height, width

    def batches(self) -> Iterator[Batch]:
        """Yields (images (N, C, H, W) float32, labels (N,) float32)."""
        images: list[np.ndarray] = []
        labels: list[int] = []
        for entry in self._served.endless():
            image = self._load(entry)
            if not images or image.shape != images[0].shape:
                self._check(entry, image, images)
            images.append(image)
            labels.append(entry.label)
            if len(images) == self._param.batch_size:
                yield self._transformer.batch(images), np.array(labels, np.float32)
                images, labels = [], []

    def _load(self, entry: _Entry) -> np.ndarray:
        """(C, H, W) uint8, resized if asked for."""
        image = read_image(entry.path, entry.where, self._param.is_color)
        if self._param.new_height:
            image = resize(image, self._param.new_height, self._param.new_width)
        return np.ascontiguousarray(image.transpose(2, 0, 1))

    def _check(self, entry: _Entry, image: np.ndarray, images: list[np.ndarray]) -> None:
        """Raises where an image fits neither the others of its batch nor crop and mean."""
        self._transformer.output_shape((image.shape[0], image.shape[1], image.shape[2]))
        if images and not self._transformer.crops:
            raise DataError(
                f"{entry.where}: '{entry.path}' has shape {image.shape}, the images before it in "
                f"the batch {images[0].shape}; set new_height and new_width, crop_size, or "
                "batch_size 1"
            )


def _read_list(name: str, source: str, root_folder: str) -> list[_Entry]:
    """The entries of a source file; the root folder is put before each path as it is."""
    entries = []
    for number, line in enumerate(read_lines(name, "image_data_param.source", source), 1):
        if not line.strip():
            continue
        where = f"layer '{name}', '{source}', line {number}"
        found = re.fullmatch(r"(.+?)\s+([-+]?\d+)\s*", line)
        if found is None:
            raise DataError(f"{where}: expected a path, a space and an integer label, got '{line}'")
        entries.append(_Entry(root_folder + found.group(1), int(found.group(2)), where))
    if not entries:
        raise DataError(f"layer '{name}': '{source}' is empty; write a path and a label a line")
    return entries
