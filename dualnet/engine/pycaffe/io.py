"""pycaffe's `caffe.io`: blobs and datums as arrays, images for nets (`python/caffe/io.py`).

Users know all of it by this module's name; image_arrays.py and transformer.py define what is for
images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dualnet.engine.errors import ShapeError
from dualnet.engine.formats.blob_proto import put_values, stored_shape, stored_values
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe.image_arrays import load_image, oversample, resize_image
from dualnet.engine.pycaffe.transformer import Transformer

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]


def blobproto_to_array(blob: caffe_pb2.BlobProto, return_diff: bool = False) -> np.ndarray:
    """A stored blob's data, or diff, as an array of its shape.

    Args:
        blob: in the present layout or the four-number one.
        return_diff: the diff instead of the data.

    Raises:
        ShapeError: the values do not fill the shape.
    """
    what = "diff" if return_diff else "data"
    values, shape = stored_values(blob, what), stored_shape(blob)
    if values.size != math.prod(shape) or any(size < 0 for size in shape):
        raise ShapeError(
            f"a stored blob of shape {tuple(shape)} holds {values.size} {what} values; the file is "
            "damaged, or holds no blob"
        )
    return values.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> caffe_pb2.BlobProto:
    """An array, and if given its gradient, as a message."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    put_values(blob, "data", np.asarray(arr))
    if diff is not None:
        put_values(blob, "diff", np.asarray(diff))
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[np.ndarray]) -> bytes:
    """Several arrays as one serialised message."""
    vector = caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist])
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(content: bytes) -> list[np.ndarray]:
    """The inverse of `arraylist_to_blobprotovector_str`."""
    vector = caffe_pb2.BlobProtoVector.FromString(content)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> caffe_pb2.Datum:
    """An image as a database record.

    Args:
        arr: (C, H, W); uint8 is stored as bytes, anything else as floats.
        label: stored if given.

    Raises:
        ValueError: the array has not three axes.
    """
    if arr.ndim != 3:
        raise ValueError(f"Incorrect array shape: a datum needs (C, H, W), got {arr.shape}")
    datum = caffe_pb2.Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).reshape(-1).tolist())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: caffe_pb2.Datum) -> np.ndarray:
    """A record's image, (C, H, W), uint8 or float64; the label is not part of it."""
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)
