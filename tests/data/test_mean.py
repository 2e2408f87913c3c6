"""Mean images, against the arithmetic of compute_image_mean and pycaffe's reader."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe
from dualnet.data.mean import compute_mean, read_mean, write_mean
from dualnet.errors import ConfigError, StorageFailed, UsageError


def test_agrees_bit_for_bit_with_sums_and_division_in_float32():
    images = np.random.randint(0, 256, (997, 3, 5, 4)).astype(np.uint8)
    total = np.zeros((3, 5, 4), np.float32)
    for image in images:
        total += image
    assert np.array_equal(compute_mean(images), total / np.float32(997))


def test_sums_stay_exact_where_float32_would_lose_units():
    bright = np.full((1, 1, 1), 255, np.uint8)
    count = 2**24 // 255 + 1000
    assert compute_mean(bright for _ in range(count)) == 255


def test_refuses_images_that_differ_and_no_images():
    with pytest.raises(ConfigError, match="the data set is empty"):
        compute_mean([])
    with pytest.raises(ConfigError, match=r"image 1 is uint8 of shape \(1, 2, 3\).*\(1, 2, 2\)"):
        compute_mean([np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8)])
    with pytest.raises(ConfigError, match="image 0 is float64"):
        compute_mean([np.zeros((1, 2, 2))])


def test_round_trip_in_the_legacy_format(tmp_path):
    mean = np.random.rand(3, 4, 5).astype(np.float32)
    path = tmp_path / "new" / "mean.binaryproto"
    write_mean(path, mean)
    assert np.array_equal(read_mean(path), mean)
    blob = caffe.proto.caffe_pb2.BlobProto.FromString(path.read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 4, 5)
    assert not blob.HasField("shape")
    assert np.array_equal(caffe.io.blobproto_to_array(blob)[0], mean)
    with pytest.raises(UsageError, match="exists already"):
        write_mean(path, mean)
    write_mean(path, mean + 1, force=True)
    assert np.array_equal(read_mean(path), mean + 1)


def test_reads_blobs_with_a_shape(tmp_path):
    mean = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    blob = caffe.io.array_to_blobproto(mean)
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    assert np.array_equal(read_mean(tmp_path / "mean"), mean[0])


def test_caffe_subtracts_it(tmp_path):
    from dualnet.data.databases.lmdb import write_lmdb

    images = np.random.randint(0, 256, (6, 2, 3, 3)).astype(np.uint8)
    write_lmdb(tmp_path / "db", images, range(6))
    write_mean(tmp_path / "mean.binaryproto", compute_mean(images))
    (tmp_path / "net.prototxt").write_text(
        f"""layer {{ name: "data" type: "Data" top: "data" top: "label"
        transform_param {{ mean_file: "{tmp_path / "mean.binaryproto"}" scale: 0.5 }}
        data_param {{ source: "{tmp_path / "db"}" batch_size: 6 backend: LMDB }} }}"""
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    expected = (images - images.mean(axis=0)) / 2
    np.testing.assert_allclose(net.blobs["data"].data, expected, rtol=0, atol=1e-4)


def test_what_is_no_mean_is_named(tmp_path):
    with pytest.raises(StorageFailed, match=r"cannot read the mean image .*absent"):
        read_mean(tmp_path / "absent")
    (tmp_path / "garbage").write_bytes(b"\xff\xff\xff")
    with pytest.raises(StorageFailed, match="garbage is not a BlobProto"):
        read_mean(tmp_path / "garbage")
    blob = caffe.proto.caffe_pb2.BlobProto(num=1, channels=3, height=2, width=2, data=[1.0])
    (tmp_path / "short").write_bytes(blob.SerializeToString())
    with pytest.raises(StorageFailed, match=r"holds 1 values of shape \(3, 2, 2\)"):
        read_mean(tmp_path / "short")
    with pytest.raises(ConfigError, match=r"shape \(C, H, W\), not \(2, 2\)"):
        write_mean(tmp_path / "flat", np.zeros((2, 2)))
