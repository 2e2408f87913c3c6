"""HDF5Data: rows of HDF5 data sets (Caffe `L/hdf5_data_layer.cpp`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError, quoted
from dualnet.engine.formats.hdf5_file import ELSEWHERE, h5py_module, open_hdf5
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["HDF5Data"]

Order = Optional[np.ndarray]


@register("HDF5Data")
class HDF5Data(Layer):
    """Each top: the data set of the top's name, (batch_size, …) float32.

    `source` lists HDF5 files, which are read whole, one after the other; a batch may span files.
    With `shuffle` the order of the files changes every round, and that of the rows every file.
    Nothing is transformed.
    """

    bottoms = 0
    tops = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the list and the first file, which gives the shapes."""
        param = self.layer_param.hdf5_data_param
        if self.layer_param.HasField("transform_param"):
            raise PrototxtError(
                f"layer '{self.name}': HDF5Data does not transform data; remove transform_param"
            )
        if not param.batch_size:
            raise PrototxtError(f"layer '{self.name}': hdf5_data_param needs batch_size above 0")
        self._batch_size: int = param.batch_size
        self._files = _read_list(self.name, param.source)
        self._draw = random.numpy_generator() if param.shuffle else None
        self._file_order = self._order(len(self._files))
        self._file = 0
        self._shapes: list[tuple[int, ...]] | None = None
        self._load()
        self._shapes = [rows.shape[1:] for rows in self._rows]
        for blob, shape in zip(top, self._shapes):
            blob.reshape(self._batch_size, *shape)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """The shapes are fixed."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Copies the next rows, from as many files as it takes."""
        results = [np.empty(blob.dims, np.float32) for blob in top]
        filled = 0
        while filled < self._batch_size:
            count = min(self._batch_size - filled, len(self._rows[0]) - self._row)
            rows = slice(self._row, self._row + count)
            chosen = rows if self._row_order is None else self._row_order[rows]
            for result, values in zip(results, self._rows):
                result[filled : filled + count] = values[chosen]
            filled += count
            self._row += count
            if self._row == len(self._rows[0]):
                self._next_file()
        for blob, result in zip(top, results):
            blob.set_data(torch.from_numpy(result))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """A data layer has no bottoms."""

    def _order(self, count: int) -> Order:
        return None if self._draw is None else self._draw.permutation(count)

    def _next_file(self) -> None:
        if len(self._files) > 1:  # a single file stays in memory
            self._file += 1
            if self._file == len(self._files):
                self._file = 0
                self._file_order = self._order(len(self._files))
            self._load()
        else:
            self._row, self._row_order = 0, self._order(len(self._rows[0]))

    def _load(self) -> None:
        """Reads all rows of the file whose turn it is, and begins at its first."""
        number = self._file if self._file_order is None else int(self._file_order[self._file])
        path = self._files[number]
        self._rows = [self._read(path, name) for name in self.layer_param.top]
        counts = [len(rows) for rows in self._rows]
        if min(counts) != max(counts) or not counts[0]:
            raise DataError(
                f"layer '{self.name}': the data sets of '{path}' must have the same number of "
                f"rows, at least 1; {quoted(self.layer_param.top)} have {counts}"
            )
        found = [rows.shape[1:] for rows in self._rows]
        for name, shape, expected in zip(self.layer_param.top, found, self._shapes or found):
            if shape != expected:
                raise DataError(
                    f"layer '{self.name}': rows of data set '{name}' have shape {shape} in "
                    f"'{path}' and {expected} in the file read first; make them equal"
                )
        self._row, self._row_order = 0, self._order(counts[0])  # rows in another order each time

    def _read(self, path: str, name: str) -> np.ndarray:
        """A data set, (M, …) float32."""
        h5py = h5py_module()
        try:
            with open_hdf5(path) as stream:
                found = stream.get(name)
                if not isinstance(found, h5py.Dataset):
                    raise DataError(
                        f"layer '{self.name}': '{path}' has no data set '{name}', the name of a "
                        f"top; it has {quoted(sorted(stream))}"
                    )
                if found.external:
                    # Bytes of any file at all, which HDF5 reads as numbers.
                    raise DataError(
                        f"layer '{self.name}': data set '{name}' of '{path}' {ELSEWHERE}"
                    )
                if found.dtype.kind not in "fiu" or not found.shape:
                    raise DataError(
                        f"layer '{self.name}': data set '{name}' of '{path}' must hold rows of "
                        f"floats or integers, it has type {found.dtype} and shape {found.shape}"
                    )
                return np.asarray(found[...], dtype=np.float32)
        except OSError as error:
            raise DataError(
                f"layer '{self.name}': cannot read HDF5 file '{path}': {error} (the working "
                f"directory is '{os.getcwd()}')"
            ) from error


def _read_list(name: str, source: str) -> list[str]:
    """The files that the source names, separated by white space."""
    try:
        with open(
            source, encoding="utf-8", errors="surrogateescape", opener=regular_only
        ) as stream:
            files = stream.read().split()
    except (OSError, ValueError) as error:
        raise DataError(
            f"layer '{name}': cannot read hdf5_data_param.source '{source}': {error} (the working "
            f"directory is '{os.getcwd()}'); it lists the HDF5 files, one a line"
        ) from error
    if not files:
        raise DataError(f"layer '{name}': '{source}' names no HDF5 files; write one a line")
    return files
