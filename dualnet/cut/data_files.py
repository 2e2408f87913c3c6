"""The files that data layers read, and whether they are there: BVLC Caffe ends the process else."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["missing_file"]

#: Data layers and what names their data: a directory or file that has to be there.
_SOURCES = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "HDF5Data": "hdf5_data_param",
    "WindowData": "window_data_param",
    "DenseImageData": "dense_image_data_param",
}


def missing_file(layer: Any) -> str:
    """`its source 'PATH'` or `its mean_file 'PATH'`, whichever is not there; "" if all are."""
    if layer.type in _SOURCES:
        source = getattr(layer, _SOURCES[layer.type]).source
        if not os.path.exists(source):
            return f"its source {source!r}"
    mean = layer.transform_param.mean_file
    if mean and not os.path.exists(mean):
        return f"its mean_file {mean!r}"
    return ""
