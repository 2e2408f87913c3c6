"""Data: batches from an LMDB or LevelDB database (`L/data_layer.cpp`, `base_data_layer.cpp`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from dualnet.engine.errors import DataError, PrototxtError
from dualnet.engine.formats.datum import decode
from dualnet.engine.layers.base import Blobs
from dualnet.engine.layers.data.prefetched import PrefetchedLayer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records.database import Records, open_database
from dualnet.engine.records.leveldb import is_leveldb
from dualnet.engine.records.transform import DataTransformer

__all__ = ["Data"]

Batch = tuple[np.ndarray, np.ndarray]


@register("Data")
class Data(PrefetchedLayer):
    """Tops: images (N, C, H, W) and, if wanted, labels (N,).

    Records are read in the order of their keys, never shuffled, and begin again at the end. As in
    Caffe, `rand_skip` has no effect here.
    """

    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Opens the database; its first image decides the shape."""
        param = self.layer_param.data_param
        is_level = param.backend == caffe_pb2.DataParameter.LEVELDB
        if is_level and os.path.exists(os.path.join(param.source, "data.mdb")):
            raise PrototxtError(
                f"layer '{self.name}': data_param.backend is LEVELDB (the default), but "
                f"'{param.source}' is an LMDB database; write 'backend: LMDB'"
            )
        if not is_level and is_leveldb(param.source):
            raise PrototxtError(
                f"layer '{self.name}': data_param.backend is LMDB, but '{param.source}' is a "
                "LevelDB database; write 'backend: LEVELDB', or convert it with `dualnet data "
                "convert`"
            )
        if not param.batch_size:
            raise PrototxtError(f"layer '{self.name}': data_param needs batch_size above 0")
        database = open_database(param.source, is_level)
        transformer = DataTransformer(self.layer_param.transform_param, self.phase, self.name)
        color: bool | None = True if param.force_encoded_color else None
        if self.layer_param.transform_param.force_color:
            color = True
        elif self.layer_param.transform_param.force_gray:
            color = False
        first = decode(database.first(), f"'{param.source}', first record", color)
        shape = transformer.output_shape((first.shape[0], first.shape[1], first.shape[2]))
        self._source = _Source(database, transformer, param.batch_size, color)
        top[0].reshape(param.batch_size, *shape)
        if len(top) > 1:
            top[1].reshape(param.batch_size)


class _Source:
    """Endless batches of a database; runs in the prefetch thread."""

    def __init__(
        self,
        database: Records,
        transformer: DataTransformer,
        batch_size: int,
        color: bool | None,
    ) -> None:
        self._database = database
        self._transformer = transformer
        self._batch_size = batch_size
        self._color = color

    def batches(self) -> Iterator[Batch]:
        """Yields (images (N, C, H, W) float32, labels (N,) float32)."""
        images: list[np.ndarray] = []
        labels: list[int] = []
        for key, datum in self._records():
            where = f"'{self._database.path}', record {key!r}"
            image = decode(datum, where, self._color)
            if images and image.shape != images[0].shape and not self._transformer.crops:
                raise DataError(
                    f"{where}: the image has shape {image.shape}, those before it "
                    f"{images[0].shape}; resize them, or set crop_size"
                )
            images.append(image)
            labels.append(datum.label)
            if len(images) == self._batch_size:
                yield self._transformer.batch(images), np.array(labels, np.float32)
                images, labels = [], []

    def _records(self) -> Iterator[tuple[bytes, caffe_pb2.Datum]]:
        while True:
            yield from self._database.records()
