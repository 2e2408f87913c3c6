"""Databases: round trips, Caffe's own Data layer as the judge, and what can go wrong on disk."""

from __future__ import annotations

import resource
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.backend import caffe
from dualnet.data.databases.lmdb import count_records, read_lmdb, write_lmdb
from dualnet.errors import ConfigError, StorageFailed, UsageError
from tests.data.loading import load_lmdb


def _images(count: int, shape: tuple[int, int, int] = (3, 4, 5)) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.randint(0, 256, (count, *shape)).astype(np.uint8)
    return images, np.random.randint(0, 10, count)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 30),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(count, shape, seed, tmp_path_factory):
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, (count, *shape)).astype(np.uint8)
    labels = random.randint(-(2**31), 2**31 - 1, count)
    path = tmp_path_factory.mktemp("round_trip") / "lmdb"
    assert write_lmdb(path, images, labels) == count
    records = list(read_lmdb(path))
    assert [record.key for record in records] == [f"{k:05d}" for k in range(count)]
    assert np.array_equal(np.stack([record.image for record in records]), images)
    assert [record.label for record in records] == labels.tolist()
    loaded_images, loaded_labels = load_lmdb(path)
    assert np.array_equal(loaded_images, images) and np.array_equal(loaded_labels, labels)
    assert count_records(path) == count


def test_the_bytes_depend_on_the_content_alone(tmp_path):
    images, labels = _images(2500)  # three transactions, and a limit that grows
    write_lmdb(tmp_path / "a", images, labels)
    write_lmdb(tmp_path / "deeper" / "b", iter(images), labels.tolist())
    first = (tmp_path / "a" / "data.mdb").read_bytes()
    assert first == (tmp_path / "deeper" / "b" / "data.mdb").read_bytes()
    images[2499, 2, 3, 4] ^= 1
    write_lmdb(tmp_path / "c", images, labels)
    assert first != (tmp_path / "c" / "data.mdb").read_bytes()


def test_grows_past_its_first_limit_and_no_further_than_needed(tmp_path):
    images, labels = _images(1200, (3, 32, 32))
    write_lmdb(tmp_path / "db", images, labels)
    size = (tmp_path / "db" / "data.mdb").stat().st_size
    # A record of 3,072 bytes takes a page of 4,096; the tree above them is small.
    assert 1200 * 4096 <= size < 1.05 * 1200 * 4096
    assert sorted(path.name for path in (tmp_path / "db").iterdir()) == ["data.mdb"]
    assert np.array_equal(load_lmdb(tmp_path / "db")[0], images)


def test_caffe_reads_it_in_order(tmp_path):
    images, labels = _images(7)
    write_lmdb(tmp_path / "db", images, labels)
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        f"""layer {{ name: "data" type: "Data" top: "data" top: "label"
        data_param {{ source: "{tmp_path / "db"}" batch_size: 5 backend: LMDB }} }}"""
    )
    net = caffe.Net(str(prototxt), caffe.TRAIN)
    order = np.arange(10) % 7  # it wraps around
    for batch in (order[:5], order[5:]):
        net.forward()
        assert np.array_equal(net.blobs["data"].data, images[batch].astype(np.float32))
        assert np.array_equal(net.blobs["label"].data.ravel(), labels[batch].astype(np.float32))


def test_reads_float_data_too(tmp_path):
    datum = caffe.io.array_to_datum(np.full((1, 2, 2), 0.5), 3)
    _store(tmp_path / "db", datum.SerializeToString())
    (record,) = read_lmdb(tmp_path / "db")
    assert record.label == 3
    assert record.image.dtype == np.float32
    assert np.array_equal(record.image, np.full((1, 2, 2), 0.5, np.float32))


def _store(path: Path, value: bytes) -> None:
    with lmdb.open(str(path)) as env, env.begin(write=True) as transaction:
        transaction.put(b"00000", value)


def test_damaged_records_are_named(tmp_path):
    _store(tmp_path / "garbage", b"\xff\xff\xff")
    with pytest.raises(StorageFailed, match=r"garbage: record b'00000' is not a Datum"):
        list(read_lmdb(tmp_path / "garbage"))
    datum = caffe.proto.caffe_pb2.Datum(channels=3, height=2, width=2, data=b"12345")
    _store(tmp_path / "short", datum.SerializeToString())
    with pytest.raises(StorageFailed, match=r"holds 5 values, but its shape says \(3, 2, 2\)"):
        list(read_lmdb(tmp_path / "short"))
    datum = caffe.proto.caffe_pb2.Datum(data=b"JFIF", encoded=True)
    _store(tmp_path / "jpeg", datum.SerializeToString())
    with pytest.raises(StorageFailed, match="compressed image"):
        list(read_lmdb(tmp_path / "jpeg"))


def test_what_is_no_database_is_named(tmp_path):
    with pytest.raises(StorageFailed, match=r"absent is not an LMDB database.*dualnet data"):
        list(read_lmdb(tmp_path / "absent"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageFailed, match="cannot open the database"):
        count_records(tmp_path / "bad")


def test_an_existing_database_stays_unless_forced(tmp_path):
    images, labels = _images(3)
    path = tmp_path / "db"
    write_lmdb(path, images, labels)
    with pytest.raises(UsageError, match="db exists already: give --force"):
        write_lmdb(path, images[:1], labels[:1])
    assert count_records(path) == 3
    write_lmdb(path, images[:1], labels[:1], force=True)
    assert count_records(path) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["db"]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 1, 2, 2), np.uint8), [0, 1], "2 labels, but more images"),
        (np.zeros((1, 1, 2, 2), np.uint8), [0, 1], "2 labels, but 1 images"),
        (np.zeros((2, 1, 2, 2), np.float32), [0, 1], "image 0 is float32"),
        (np.zeros((2, 2, 2), np.uint8), [0, 1], "image 0 is uint8 of shape .2, 2."),
        (
            [np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8)],
            [0, 1],
            r"image 1 is uint8 of shape \(1, 2, 3\), expected uint8 of shape \(1, 2, 2\)",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_and_leaves_nothing(
    images, labels, message, tmp_path
):
    with pytest.raises(ConfigError, match=message):
        write_lmdb(tmp_path / "db", images, labels)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def _small_files():
    """Let writes fail past 300,000 bytes of a file, in the place where they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_small_files")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    images, labels = _images(500, (3, 32, 32))
    with pytest.raises(StorageFailed) as caught:
        write_lmdb(tmp_path / "db", images, labels)
    message = str(caught.value)
    assert message.startswith(f"cannot write the database {tmp_path / 'db'} (")
    assert "MiB are free): " in message
    assert message.endswith("free some space, or give another -o DIR")
    assert list(tmp_path.iterdir()) == []
