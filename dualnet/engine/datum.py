"""Records of Caffe's image databases (`caffe.proto` Datum)."""

from __future__ import annotations

import io

import numpy as np

from dualnet.engine.errors import DataError
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
        return _decode_image(datum.data, where, color)
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8)
    else:
        values = np.array(datum.float_data, np.float32)
    if values.size != shape[0] * shape[1] * shape[2]:
        raise DataError(f"{where}: {values.size} values are stored for the shape {shape}")
    return values.reshape(shape)


def _decode_image(content: bytes, where: str, color: bool | None) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"{where} is an encoded image; install the package pillow") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            gray = image.mode in ("1", "L", "I;16") if color is None else not color
            pixels = np.asarray(image.convert("L" if gray else "RGB"))
    except OSError as error:
        raise DataError(f"{where} holds no readable image: {error}") from error
    if pixels.ndim == 2:
        return pixels[np.newaxis]
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))
