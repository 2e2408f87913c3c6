"""HDF5Output: writes two blobs to an HDF5 file (Caffe `L/hdf5_output_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.formats.hdf5_file import h5py_module
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register

__all__ = ["HDF5Output"]

_NAMES = ("data", "label")


@register("HDF5Output")
class HDF5Output(Layer):
    """Bottom 0 becomes the data set "data", bottom 1 "label", always with four axes (N, C, H, W).

    The file is created with the net and is complete after every forward pass. The rows of further
    passes are appended, where BVLC Caffe aborts because the data sets exist.
    """

    bottoms = 2
    tops = 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Creates the file; one that exists is replaced."""
        self._path: str = self.layer_param.hdf5_output_param.file_name
        if not self._path:
            raise PrototxtError(
                f"layer '{self.name}': hdf5_output_param.file_name is missing; name the file to "
                "write"
            )
        self._open("w").close()

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that both bottoms have as many rows, and four axes at most."""
        dims = [blob.dims for blob in bottom]
        if max(len(shape) for shape in dims) > 4:
            raise ShapeError(
                f"layer '{self.name}': HDF5Output takes at most 4 axes, the bottoms have shapes "
                f"{dims[0]} and {dims[1]}; reshape them"
            )
        if bottom[0].num != bottom[1].num:
            raise ShapeError(
                f"layer '{self.name}': the bottoms must have as many rows (axis 0), they have "
                f"shapes {dims[0]} and {dims[1]}"
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        with self._open("a") as stream:
            for name, blob in zip(_NAMES, bottom):
                self._append(stream, name, blob)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Nothing depends on what was written."""

    def _append(self, stream: Any, name: str, blob: Blob) -> None:
        shape = (blob.num, blob.channels, blob.height, blob.width)
        values = np.asarray(blob.data_tensor.cpu().numpy()).reshape(shape)
        if name not in stream:
            stream.create_dataset(name, data=values, maxshape=(None, *shape[1:]))
            return
        found = stream[name]
        if found.shape[1:] != shape[1:]:
            raise ShapeError(
                f"layer '{self.name}': rows of '{name}' have shape {shape[1:]}, those written to "
                f"'{self._path}' before {found.shape[1:]}; keep the bottoms' shapes"
            )
        written = found.shape[0]
        found.resize(written + shape[0], axis=0)
        found[written:] = values

    def _open(self, mode: str) -> Any:
        try:
            return h5py_module().File(self._path, mode)
        except OSError as error:
            raise DataError(
                f"layer '{self.name}': cannot write hdf5_output_param.file_name '{self._path}': "
                f"{error}"
            ) from error
