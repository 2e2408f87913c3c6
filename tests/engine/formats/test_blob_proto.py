"""Stored blobs: the block of memory is what protobuf's own interface sees."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import WeightsError
from dualnet.engine.formats.blob_proto import (
    blob_from_proto,
    blob_to_proto,
    put_values,
    stored_values,
)
from dualnet.engine.proto import caffe_pb2


@pytest.mark.parametrize("count", [0, 1, 31, 32, 5000, 600000])
@pytest.mark.parametrize("what", ["data", "diff"])
def test_same_as_protobufs_own_interface(count, what):
    values = np.random.standard_normal(count).astype(np.float32)
    slow = caffe_pb2.BlobProto(num=1, channels=300, height=2, width=1, **{what: values})
    fast = caffe_pb2.BlobProto(num=1, channels=300, height=2, width=1)
    put_values(fast, what, values)
    assert fast == slow
    other = "diff" if what == "data" else "data"
    put_values(fast, other, values[:3])
    np.testing.assert_array_equal(stored_values(fast, what), values)
    np.testing.assert_array_equal(stored_values(fast, other), values[:3])


def test_double_precision_is_converted():
    proto = caffe_pb2.BlobProto(double_data=[0.1, 0.2], double_diff=[3.0])
    np.testing.assert_array_equal(stored_values(proto), np.array([0.1, 0.2], np.float32))
    np.testing.assert_array_equal(stored_values(proto, "diff"), [3])


def test_round_trip_of_any_strides():
    blob, again = Blob((2, 3, 4, 5)), Blob((2, 3, 4, 5))
    blob.data[...] = np.random.standard_normal((2, 3, 4, 5))
    blob.diff[...] = 2
    blob.set_data(blob.data_tensor.clone().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
    proto = caffe_pb2.BlobProto()
    blob_to_proto(blob, proto, write_diff=True)
    blob_from_proto(again, proto, "here")
    np.testing.assert_array_equal(blob.data, again.data)
    np.testing.assert_array_equal(blob.diff, again.diff)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"data": [1, 2]}, r"stored shape is \(\) with 2 values"),
        ({"num": 1, "channels": 1, "height": 2, "width": 2, "data": [1] * 4}, r"\(1, 1, 2, 2\)"),
    ],
)
def test_another_shape_is_refused(stored, message):
    with pytest.raises(WeightsError, match=f"here: the .*{message}.*the net's is .2,."):
        blob_from_proto(Blob((2,)), caffe_pb2.BlobProto(**stored), "here")
