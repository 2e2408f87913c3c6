"""HDF5 weights and states: complete or not at all, and one line for what is wrong."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import CaffeError, DataError, WeightsError
from dualnet.engine.formats import snapshot
from dualnet.engine.formats.hdf5_file import writing
from dualnet.engine.net.net import Net

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


@pytest.fixture
def secret(tmp_path):
    """A file that must not be read: as text, and as HDF5."""
    (tmp_path / "secret.txt").write_bytes(bytes(range(48)))
    with h5py.File(tmp_path / "secret.h5", "w") as stream:
        stream["data/ip/0"] = np.full((4, 3), 7, np.float32)
        stream["history/0"] = np.full((4, 3), 7, np.float32)
        stream["number"] = [7]
    return tmp_path


def point_elsewhere(stream, place, kind, secret):
    """Replaces what is at `place` by something that is in the secret file."""
    shape = stream[place].shape if isinstance(stream[place], h5py.Dataset) else (4, 3)
    del stream[place]
    if kind == "link":
        stream[place] = h5py.ExternalLink(str(secret / "secret.h5"), place)
    elif kind == "storage":
        size = 4 * int(np.prod(shape))
        where = [(str(secret / "secret.txt"), 0, size)]
        stream.create_dataset(place, shape, np.float32, external=where)
    else:
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[...] = h5py.VirtualSource(str(secret / "secret.h5"), "data/ip/0", (4, 3))[
            tuple(slice(0, size) for size in shape)
        ]
        stream.create_virtual_dataset(place, layout)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("data", "link"),
        ("data/ip", "link"),
        ("data/ip/0", "link"),
        ("data/ip/0", "storage"),
        ("data/ip/0", "virtual"),
    ],
)
def test_weights_that_stand_in_another_file(net, secret, place, kind):
    path = secret / "w.caffemodel.h5"
    net.save_hdf5(str(path))
    with h5py.File(path, "r+") as stream:
        point_elsewhere(stream, place, kind, secret)
    before = net.params["ip"][0].data.copy()
    with pytest.raises(WeightsError, match="w.caffemodel.h5'.*points into another file"):
        net.copy_from(str(path))
    assert np.array_equal(net.params["ip"][0].data, before)


@pytest.mark.parametrize(
    ("place", "kind"),
    [("history", "link"), ("history/0", "link"), ("history/0", "storage"), ("iter", "storage")],
)
def test_states_that_stand_in_another_file(secret, place, kind):
    path = str(secret / "s.solverstate.h5")
    history = [Blob((4, 3))]
    snapshot.write_state(path, snapshot.State(3, 0, "w"), history)
    with h5py.File(path, "r+") as stream:
        point_elsewhere(stream, place, kind, secret)
    with pytest.raises(WeightsError, match="s.solverstate.h5'.*points into another file"):
        snapshot.read_state(path, history)


def test_a_state_whose_file_name_is_a_gigabyte(tmp_path):
    path = str(tmp_path / "s.solverstate.h5")
    snapshot.write_state(path, snapshot.State(3, 0, "w"), [])
    with h5py.File(path, "r+") as stream:
        del stream["learned_net"]
        stream.create_dataset("learned_net", (2**20,), "S1024", chunks=(1024,))
    with pytest.raises(WeightsError, match="learned_net' takes 1048576 x 1024 bytes"):
        snapshot.read_state(path, [])


def test_layers_whose_names_have_slashes(tmp_path):
    """Inception's layers are called like this; HDF5 makes groups within groups of it."""
    path = tmp_path / "net.prototxt"
    second = NET.split("\n")[1].replace('"ip"', '"a"').replace('"y"', '"z"')
    path.write_text(NET.replace('"ip"', '"a/1x1"') + second)
    one, two = Net(str(path), 0), Net(str(path), 0)
    for layer in ("a", "a/1x1"):
        one.params[layer][0].data[...] = np.arange(12).reshape(4, 3) + len(layer)
    one.save_hdf5(str(tmp_path / "w.h5"))
    two.copy_from(str(tmp_path / "w.h5"))
    for layer in ("a", "a/1x1"):
        assert np.array_equal(two.params[layer][0].data, one.params[layer][0].data)


def test_a_fifo_is_refused_and_nobody_waits(net, tmp_path):
    path = tmp_path / "w.caffemodel.h5"
    os.mkfifo(path)
    with pytest.raises(CaffeError, match="w.caffemodel.h5.*not a regular file"):
        net.copy_from(str(path))
    with pytest.raises(WeightsError, match="not a regular file"):
        snapshot.read_state(str(path), [])


def test_truncated_files(net, tmp_path):
    path = tmp_path / "w.caffemodel.h5"
    net.save_hdf5(str(path))
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(CaffeError, match="w.caffemodel.h5"):
            net.copy_from(str(path))


def test_any_damage_of_weights_is_one_line(net, tmp_path):
    """In a child, as HDF5's library itself may crash over some; none of these does."""
    path = tmp_path / "w.caffemodel.h5"
    net.save_hdf5(str(path))
    content = path.read_bytes()
    random = np.random.RandomState(5)
    for _ in range(40):
        damaged = bytearray(content)
        for at in random.randint(0, 3000, random.randint(1, 4)):
            damaged[at] = random.randint(256)
        path.write_bytes(damaged)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            code = 1
            try:
                net.copy_from(str(path))
                code = 0
            except CaffeError as error:
                code = 1 if "\n" in str(error) else 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0


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
