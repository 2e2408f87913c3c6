"""Blobs as protobuf messages (`BlobProto`), moved as blocks of memory (Caffe `blob.cpp`).

Protobuf's Python interface hands out repeated fields number by number: seconds for each ten million
weights. In the wire format a packed field of floats is one block of little-endian values, so the
numbers are read from and written to that instead.
"""

from __future__ import annotations

import numpy as np
import torch

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import WeightsError
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.proto.wire_format import BYTES, fields, tag, varint

__all__ = ["blob_from_proto", "blob_to_proto", "put_values", "stored_shape", "stored_values"]

_LEGACY = ("num", "channels", "height", "width")
#: Number of each field of values, and what its bytes are: little-endian float32 or float64.
_NUMBERS = {
    field.name: (field.number, "<f8" if field.name.startswith("double") else "<f4")
    for field in caffe_pb2.BlobProto.DESCRIPTOR.fields
    if field.name in ("data", "diff", "double_data", "double_diff")
}


def stored_shape(proto: caffe_pb2.BlobProto) -> list[int]:
    """The shape of a stored blob, in the present or the four-number layout."""
    if any(proto.HasField(name) for name in _LEGACY):
        return [proto.num, proto.channels, proto.height, proto.width]
    return list(proto.shape.dim)


def stored_values(proto: caffe_pb2.BlobProto, what: str = "data") -> np.ndarray:
    """The values of a stored blob.

    Args:
        proto: the stored blob.
        what: `data` or `diff`; where the file holds it in double precision, that is converted.

    Returns:
        (count,) float32, empty where the blob has none.
    """
    name = f"double_{what}" if len(getattr(proto, f"double_{what}")) else what
    if not len(getattr(proto, name)):
        return np.zeros(0, np.float32)
    number, kind = _NUMBERS[name]
    block = _find_block(proto.SerializeToString(), number)
    return np.frombuffer(block, dtype=kind).astype(np.float32)


def put_values(proto: caffe_pb2.BlobProto, what: str, values: np.ndarray) -> None:
    """Appends float32 values of any shape to a message's `data` or `diff`."""
    if values.size:
        number, kind = _NUMBERS[what]
        content = np.ascontiguousarray(values, dtype=kind).tobytes()
        head = tag(number, BYTES) + varint(len(content))
        proto.MergeFromString(head + content)


def blob_to_proto(blob: Blob, proto: caffe_pb2.BlobProto, write_diff: bool = False) -> None:
    """Stores a blob's shape, data and, if asked, diff in a message."""
    proto.Clear()
    proto.shape.dim.extend(blob.dims)
    put_values(proto, "data", blob.data_tensor.cpu().numpy())
    if write_diff:
        put_values(proto, "diff", blob.diff_tensor.cpu().numpy())


def blob_from_proto(blob: Blob, proto: caffe_pb2.BlobProto, where: str) -> None:
    """Copies stored values into a blob of the same shape.

    Args:
        blob: the target.
        proto: the stored blob.
        where: names the parameter, for messages.

    Raises:
        WeightsError: the shapes differ.
    """
    stored = stored_shape(proto)
    shape = list(blob.dims)
    if any(proto.HasField(name) for name in _LEGACY) and len(shape) <= 4:
        shape = [1] * (4 - len(shape)) + shape
    values = stored_values(proto)
    if stored != shape or values.size != blob.count:
        raise WeightsError(
            f"{where}: the stored shape is {tuple(stored)} with {values.size} values, the net's is "
            f"{blob.dims}; rename the layer to keep its own initial values"
        )
    blob.set_data(torch.from_numpy(values).view(blob.dims))
    diff = stored_values(proto, "diff")
    if diff.size:
        blob.set_diff(torch.from_numpy(diff).view(blob.dims))


def _find_block(content: bytes, wanted: int) -> memoryview:
    """The bytes of a packed field in a serialised message; empty if it has none.

    Serialising the message and finding the block takes milliseconds for ten million weights, where
    reading them through protobuf's interface takes seconds. `put_values` merges bytes for the same
    reason.
    """
    view = memoryview(content)
    for field in fields(view):
        if field.number == wanted and field.wire == BYTES:
            return view[field.value : field.end]
    return view[:0]
