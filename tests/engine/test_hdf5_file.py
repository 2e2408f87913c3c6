"""HDF5 weights and states: complete or not at all, and one line for what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine import snapshot
from dualnet.engine.blob import Blob
from dualnet.engine.errors import CaffeError, DataError, WeightsError
from dualnet.engine.hdf5_file import writing
from dualnet.engine.net import Net

h5py = pytest.importorskip("h5py")

NET = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
    "inner_product_param { num_output: 4 } }\n"
)


@pytest.fixture
def net(tmp_path):
    """A net with one parameter of (4, 3) and one of (4,)."""
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return Net(str(path), 0)


def damage(stream, kind):
    """Changes an open file of weights or of a solver's state."""
    top = "data" if "data" in stream else "history"
    group = stream["data/ip"] if top == "data" else stream["history"]
    if kind == "no group":
        del stream[top]
    elif kind == "a dataset for a group":
        del stream[top]
        stream[top] = np.zeros(3)
    elif kind == "a group for a dataset":
        del group["0"]
        group.create_group("0")
    elif kind == "text":
        del group["0"]
        group.create_dataset("0", data=np.full((4, 3), b"weights"))
    else:  # sparse: a terabyte that takes no room in the file
        del group["0"]
        group.create_dataset("0", (2**20, 2**18), np.float32, chunks=(1, 1024))


KINDS = ["no group", "a dataset for a group", "a group for a dataset", "text", "a terabyte"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_weights(net, tmp_path, kind):
    path = str(tmp_path / "w.caffemodel.h5")
    net.save_hdf5(path)
    with h5py.File(path, "r+") as stream:
        damage(stream, kind)
    with pytest.raises(WeightsError, match="w.caffemodel.h5'") as caught:
        net.copy_from(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*KINDS, "numbers"])
def test_damaged_states(tmp_path, kind):
    path = str(tmp_path / "s.solverstate.h5")
    history = [Blob((4, 3))]
    snapshot.write_state(path, snapshot.State(3, 0, "w"), history)
    with h5py.File(path, "r+") as stream:
        if kind == "numbers":
            del stream["iter"]
            stream["iter"] = np.arange(2)
        else:
            damage(stream, kind)
    with pytest.raises(WeightsError, match="s.solverstate.h5'") as caught:
        snapshot.read_state(path, history)
    assert "\n" not in str(caught.value)


def test_truncated_files(net, tmp_path):
    path = tmp_path / "w.caffemodel.h5"
    net.save_hdf5(str(path))
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(CaffeError, match="w.caffemodel.h5"):
            net.copy_from(str(path))


def test_nothing_remains_of_a_file_that_failed(tmp_path):
    path = tmp_path / "out.h5"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), writing(str(path)) as stream:
        stream["a"] = 1
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"] and path.read_text() == "before"
    with writing(str(path)) as stream:
        stream["a"] = 1
    with h5py.File(path, "r") as stream:
        assert stream["a"][()] == 1


def test_a_place_that_cannot_be_written(net, tmp_path):
    with pytest.raises(DataError, match="cannot write '.*missing/w.h5': .*o such file"):
        net.save_hdf5(str(tmp_path / "missing" / "w.h5"))
