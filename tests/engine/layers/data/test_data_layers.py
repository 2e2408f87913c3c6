"""MemoryData, Data, DummyData and Input."""

from __future__ import annotations

import gc
import threading

import lmdb
import numpy as np
import pytest

from dualnet.engine.errors import DataError, InputArrayError, PrototxtError, ShapeError
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN

MEMORY = """
layer { name: "in" type: "MemoryData" top: "data" top: "label"
        memory_data_param { batch_size: 2 channels: 3 height: 4 width: 4 } }
"""


@pytest.fixture
def make(tmp_path):
    """Builds a net from text."""

    def build(text, phase=TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return Net(path, phase)

    return build


def arrays(n):
    return np.random.randn(n, 3, 4, 4).astype(np.float32), np.arange(n, dtype=np.float32)


def test_memory_data_serves_batches_and_wraps(make):
    net = make(MEMORY)
    data, labels = arrays(4)
    assert list(net.blobs["label"].shape) == [2]
    net.set_input_arrays(data, labels)
    for rows in ([0, 1], [2, 3], [0, 1]):
        out = net.forward()
        np.testing.assert_array_equal(out["data"], data[rows])
        np.testing.assert_array_equal(out["label"].ravel(), rows)
    assert list(net.blobs["label"].shape) == [2, 1, 1, 1]


def test_memory_data_is_refilled_in_place(make):
    net = make(MEMORY)
    data, labels = arrays(2)
    net.set_input_arrays(data, labels)
    held = net.forward()["data"]
    data[...] = 7
    np.testing.assert_array_equal(net.blobs["data"].data, data)
    net.forward()
    np.testing.assert_array_equal(held, data)


def test_memory_data_refuses_what_does_not_fit(make):
    net = make(MEMORY)
    data, labels = arrays(4)
    cases = [
        (data[:, :, :3], labels, r"\(3, 3, 4\), the layer has \(3, 4, 4\)"),
        (data.astype(float), labels, "must be float32, it is float64"),
        (data[:3], labels[:3], "3 is no multiple of 2"),
        (data, labels[:2], "they have 4 and 2"),
        (data[:, ::-1], labels, "C contiguous"),
        (data[0], labels, "must be 4-d"),
    ]
    for bad, marks, message in cases:
        with pytest.raises(InputArrayError, match=message):
            net.set_input_arrays(bad, marks)
    with pytest.raises(RuntimeError, match="before the first forward"):
        net.forward()
    other = make(
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 } } }'
    )
    with pytest.raises(InputArrayError, match="it is a DummyData layer"):
        other.set_input_arrays(data, labels)


@pytest.fixture
def database(tmp_path):
    """Ten images (3, 6, 5) uint8 with labels 0 to 9."""
    images = np.random.randint(0, 256, (10, 3, 6, 5)).astype(np.uint8)
    with lmdb.open(str(tmp_path / "db"), map_size=2**20) as env, env.begin(write=True) as txn:
        for i, image in enumerate(images):
            datum = caffe_pb2.Datum(channels=3, height=6, width=5, data=image.tobytes(), label=i)
            txn.put(f"{i:05}".encode(), datum.SerializeToString())
    return tmp_path / "db", images


def data_net(source, transform="", batch=4):
    return f"""
layer {{ name: "d" type: "Data" top: "data" top: "label" transform_param {{ {transform} }}
         data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def test_data_reads_in_order_and_wraps(make, database):
    path, images = database
    net = make(data_net(path))
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]):
        out = net.forward()
        np.testing.assert_array_equal(out["data"], images[rows])
        np.testing.assert_array_equal(out["label"], rows)


def test_two_nets_read_one_source(make, database):
    path, images = database
    nets = [make(data_net(path)), make(data_net(path), TEST)]
    for net in nets * 2:
        net.forward()
    np.testing.assert_array_equal(nets[0].blobs["label"].data, nets[1].blobs["label"].data)


def test_mean_scale_and_central_crop(make, database, tmp_path):
    path, images = database
    mean = images.astype(np.float32).mean(axis=0)
    blob = caffe_pb2.BlobProto(num=1, channels=3, height=6, width=5, data=mean.ravel().tolist())
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    net = make(data_net(path, f'mean_file: "{tmp_path}/mean" scale: 0.5'))
    np.testing.assert_allclose(net.forward()["data"], (images[:4] - mean) * 0.5, rtol=1e-5)
    net = make(data_net(path, f'mean_file: "{tmp_path}/mean" crop_size: 3'), TEST)
    expected = (images[:4] - mean)[:, :, 1:4, 1:4]
    np.testing.assert_allclose(net.forward()["data"], expected, rtol=1e-5)
    net = make(data_net(path, "mean_value: 1 mean_value: 2 mean_value: 3"))
    expected = images[:4] - np.array([1, 2, 3.0])[:, None, None]
    np.testing.assert_allclose(net.forward()["data"], expected, rtol=1e-5)


def test_random_crops_and_mirroring_come_from_the_image(make, database):
    path, images = database
    out = make(data_net(path, "crop_size: 4 mirror: true", batch=10)).forward()["data"]
    seen = set()
    for image, crop in zip(images, out):
        places = [
            (i, j, flip)
            for i in range(3)
            for j in range(2)
            for flip in (1, -1)
            if np.array_equal(image[:, i : i + 4, j : j + 4][:, :, ::flip], crop)
        ]
        assert places
        seen.update(places)
    assert len(seen) > 3


def test_data_errors(make, database, tmp_path):
    path, _ = database
    with pytest.raises(DataError, match="does not exist .the working directory"):
        make(data_net(tmp_path / "none"))
    with pytest.raises(PrototxtError, match="LEVELDB .the default."):
        make(data_net(path).replace("backend: LMDB", ""))
    with pytest.raises(ShapeError, match=r"crop_size 6 exceeds the image \(3, 6, 5\)"):
        make(data_net(path, "crop_size: 6"))
    with pytest.raises(PrototxtError, match="mean_file and mean_value"):
        make(data_net(path, 'mean_file: "x" mean_value: 3'))


def test_the_prefetch_thread_ends_with_the_net(make, database):
    others = set(threading.enumerate())  # those of nets that other tests still hold
    net = make(data_net(database[0]))
    net.forward()
    thread = next(t for t in set(threading.enumerate()) - others if t.name == "prefetch")
    del net
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_dummy_data_redraws_only_random_tops(make):
    net = make("""
layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param {
  shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } data_filler { value: 4 } } }""")
    first = net.forward()["a"].copy()
    out = net.forward()
    assert not np.array_equal(out["a"], first)
    np.testing.assert_array_equal(out["b"], np.full((2, 3), 4))


def test_input_shapes(make):
    text = 'layer {{ name: "i" type: "Input" {} input_param {{ {} }} }}'
    shapes = "shape { dim: 2 } shape { dim: 3 }"
    net = make(text.format('top: "a" top: "b"', shapes))
    assert net.inputs == ["a", "b"] and list(net.blobs["b"].shape) == [3]
    with pytest.raises(PrototxtError, match="3 tops vs. 2 shapes"):
        make(text.format('top: "a" top: "b" top: "c"', shapes))
