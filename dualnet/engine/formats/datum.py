"""Records of Caffe's image databases (`caffe.proto` Datum)."""

from __future__ import annotations

import numpy as np

from dualnet.engine.errors import DataError
from dualnet.engine.formats.image import read_image
from dualnet.engine.proto import caffe_pb2

__all__ = ["decode"]


def decode(datum: caffe_pb2.Datum, where: str, color: bool | None = None) -> np.ndarray:
    """The image of a record.

    Args:
        datum: the record.
        where: names the record, for messages.
        color: for encoded images: True for 3 channels, False for 1, None for what is stored.

    Returns:
        (C, H, W), uint8 or float32; encoded colour images in BGR order, as OpenCV decodes them.

    Raises:
        DataError: the number of values does not fit the stated shape.
    """
    if datum.encoded:
        pixels = read_image("in the record", where, color, datum.data)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8)
    else:
        values = np.array(datum.float_data, np.float32)
    if min(shape) < 0 or values.size != shape[0] * shape[1] * shape[2]:
        raise DataError(f"{where}: {values.size} values are stored for the shape {shape}")
    return values.reshape(shape)
