"""HDF5Data and HDF5Output."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN


@pytest.fixture
def make(tmp_path):
    """Builds a net from a layer's type and settings."""

    def build(text, phase=TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return Net(path, phase)

    return build


@pytest.fixture
def source(tmp_path):
    """Files of 4 and 3 rows: data (rows, 2), label (rows,) 0 to 6; and the list of them."""
    for number, labels in enumerate((np.arange(4), np.arange(4, 7))):
        with h5py.File(tmp_path / f"{number}.h5", "w") as stream:
            stream["label"] = labels
            stream["data"] = np.stack([labels * 10.0, labels + 0.5], axis=1)
    (tmp_path / "list").write_text(f"{tmp_path}/0.h5\n{tmp_path}/1.h5\n")
    return tmp_path / "list"


def reader(source, batch, extra="", tops=("data", "label")):
    names = " ".join(f'top: "{name}"' for name in tops)
    return (
        f'layer {{ name: "d" type: "HDF5Data" {names} hdf5_data_param {{ source: "{source}" '
        f"batch_size: {batch} {extra} }} }}"
    )


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_batches_span_files_and_wrap(make, source, phase):
    net = make(reader(source, 5), phase)
    assert list(net.blobs["data"].shape) == [5, 2] and list(net.blobs["label"].shape) == [5]
    for rows in ([0, 1, 2, 3, 4], [5, 6, 0, 1, 2], [3, 4, 5, 6, 0]):
        out = net.forward()
        np.testing.assert_array_equal(out["label"], rows)
        np.testing.assert_array_equal(out["data"], [[r * 10, r + 0.5] for r in rows])


def test_a_batch_may_hold_several_rounds(make, source):
    net = make(reader(source, 16, tops=("label",)))
    np.testing.assert_array_equal(net.forward()["label"], np.arange(16) % 7)


def test_shuffled_rounds_hold_every_row_once(make, source):
    random.set_random_seed(4)
    net = make(reader(source, 7, "shuffle: true"))
    seen = []
    for _ in range(6):
        out = net.forward()
        labels = out["label"].copy()
        np.testing.assert_array_equal(np.sort(labels), np.arange(7))
        np.testing.assert_array_equal(out["data"][:, 0], labels * 10)
        seen.append(tuple(labels))
        # The rows of a file stay together.
        assert sorted(labels[:4]) == [0, 1, 2, 3] or sorted(labels[:3]) == [4, 5, 6]
    assert len(set(seen)) > 1
    assert len({labels[0] > 3 for labels in seen}) == 2  # files change places too
    random.set_random_seed(4)
    again = make(reader(source, 7, "shuffle: true"))
    assert tuple(again.forward()["label"]) == seen[0]


def test_one_file_is_reshuffled_each_round(make, source, tmp_path):
    source.write_text(f"{tmp_path}/0.h5")
    net = make(reader(source, 4, "shuffle: true"))
    seen = {tuple(net.forward()["label"]) for _ in range(8)}
    assert len(seen) > 1 and all(sorted(labels) == [0, 1, 2, 3] for labels in seen)


def test_wrong_files(make, source, tmp_path):
    def fails(message, error=DataError, text=None):
        with pytest.raises(error, match=message):
            make(text or reader(source, 2))

    fails("batch_size above 0", PrototxtError, reader(source, 0))
    transformed = reader(source, 2).replace("hdf5", "transform_param { scale: 2 } hdf5")
    fails("does not transform data; remove transform_param", PrototxtError, transformed)
    fails("no data set 'image', the name of a top; it has 'data', 'label'",
          text=reader(source, 2, tops=("image",)))  # fmt: skip
    fails("cannot read hdf5_data_param.source '.*none'", text=reader(tmp_path / "none", 2))
    with h5py.File(tmp_path / "0.h5", "a") as stream:
        stream["short"] = np.zeros(3)
        stream["words"] = [b"a", b"b"]
    fails(r"same number of rows.*'data', 'short' have \[4, 3\]",
          text=reader(source, 2, tops=("data", "short")))  # fmt: skip
    fails("'words' of '.*0.h5' must hold rows", text=reader(source, 2, tops=("words",)))
    source.write_text(" \n")
    fails("names no HDF5 files")
    source.write_text(f"{tmp_path}/2.h5")
    fails("cannot read HDF5 file '.*2.h5'")
    source.write_text(f"{source}")
    fails("cannot read HDF5 file '.*list'")


def test_files_must_have_rows_of_one_shape(make, source, tmp_path):
    with h5py.File(tmp_path / "1.h5", "w") as stream:
        stream["label"], stream["data"] = np.zeros(2), np.zeros((2, 3))
    net = make(reader(source, 4))
    with pytest.raises(DataError, match=r"'data' have shape \(3,\) in '.*1.h5' and \(2,\)"):
        net.forward()


def writer(path, data="dim: 2 dim: 3", label="dim: 2"):
    return f"""
layer {{ name: "i" type: "Input" top: "a" top: "b"
         input_param {{ shape {{ {data} }} shape {{ {label} }} }} }}
layer {{ name: "o" type: "HDF5Output" bottom: "a" bottom: "b"
         hdf5_output_param {{ file_name: "{path}" }} }}"""


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_output_holds_every_pass(make, tmp_path, phase):
    path = tmp_path / "out.h5"
    path.write_text("replaced")
    net = make(writer(path), phase)
    a = np.random.randn(3, 2, 3).astype(np.float32)
    for batch in a:
        net.blobs["a"].data[...] = batch
        net.blobs["b"].data[...] = batch[:, 0]
        net.forward()
        net.backward()
    with h5py.File(path, "r") as stream:
        assert sorted(stream) == ["data", "label"]
        assert stream["data"].dtype == np.float32
        np.testing.assert_array_equal(stream["data"], a.reshape(6, 3, 1, 1))
        np.testing.assert_array_equal(stream["label"], a[:, :, 0].reshape(6, 1, 1, 1))


def test_output_can_be_read_again(make, tmp_path):
    net = make(writer(tmp_path / "out.h5"))
    net.blobs["a"].data[...] = a = np.random.randn(2, 3)
    net.forward()
    (tmp_path / "list").write_text(str(tmp_path / "out.h5"))
    back = make(reader(tmp_path / "list", 2)).forward()["data"]
    np.testing.assert_array_equal(back[:, :, 0, 0], a.astype(np.float32))


def test_wrong_outputs(make, tmp_path):
    with pytest.raises(PrototxtError, match="file_name is missing"):
        make(writer(""))
    with pytest.raises(DataError, match="'o': cannot write .*'.*none/out.h5'"):
        make(writer(tmp_path / "none" / "out.h5"))
    path = tmp_path / "out.h5"
    with pytest.raises(ShapeError, match=r"as many rows .*\(2, 3\) and \(4,\)"):
        make(writer(path, label="dim: 4"))
    with pytest.raises(ShapeError, match="at most 4 axes"):
        make(writer(path, data="dim: 2 " + 4 * "dim: 1 "))
    net = make(writer(path))
    net.forward()
    net.blobs["a"].reshape(2, 5)
    with pytest.raises(ShapeError, match=r"rows of 'data' have shape \(5, 1, 1\).*\(3, 1, 1\)"):
        net.forward()
