"""What a file of weights holds: layouts of all ages, HDF5, and files that are something else."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe_pb2
from dualnet.errors import ConfigError
from dualnet.training.net.weights_file import Shape, read_weights_file

VALUES = np.arange(6, dtype=np.float32)


def blob(*dims, legacy=False, double=False):
    message = caffe_pb2.BlobProto()
    if legacy:
        message.num, message.channels, message.height, message.width = dims
    else:
        message.shape.dim.extend(dims)
    (message.double_data if double else message.data).extend(VALUES.tolist())
    return message


def net_of(kind):
    """A caffemodel with the layers `data`, without weights, and `ip`, with weights of (2, 3)."""
    net = caffe_pb2.NetParameter(name="n")
    if kind in ("present", "double"):
        net.layer.add(name="data", type="Input")
        net.layer.add(name="ip", type="InnerProduct", blobs=[blob(2, 3, double=kind == "double")])
        return net
    legacy = blob(1, 1, 2, 3, legacy=True)
    if kind == "V1":
        net.layers.add(name="data", type=caffe_pb2.V1LayerParameter.DATA)
        net.layers.add(name="ip", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT, blobs=[legacy])
        return net
    for name, layer_type in (("data", "data"), ("pad", "padding"), ("ip", "innerproduct")):
        layer = net.layers.add().layer
        layer.name, layer.type = name, layer_type
    net.layers[2].layer.blobs.append(legacy)
    return net


@pytest.mark.parametrize("kind", ["present", "double", "V1", "V0"])
def test_caffemodels_of_all_ages(tmp_path, kind):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net_of(kind).SerializeToString())
    file = read_weights_file(str(path))
    assert [layer.name for layer in file.layers] == ["data", "ip"]
    assert list(file.with_weights) == ["ip"]
    shape = file.with_weights["ip"].shapes[0]
    assert shape.fits((2, 3)) and not shape.fits((3, 2)) and not shape.fits((6,))
    np.testing.assert_array_equal(file.values("ip")[0].ravel(), VALUES)


def test_four_numbers_fit_what_they_pad():
    assert Shape((1, 1, 2, 3), is_legacy=True).fits((2, 3))
    assert Shape((1, 1, 2, 3), is_legacy=True).fits((1, 2, 3))
    assert not Shape((1, 1, 2, 3)).fits((2, 3))
    assert not Shape((2, 3, 1, 1), is_legacy=True).fits((2, 3))
    assert not Shape((1, 1, 2, 3), is_legacy=True).fits((1, 1, 1, 2, 3))


def test_a_parameter_with_too_few_values_is_damage(tmp_path):
    net = net_of("present")
    net.layer[1].blobs[0].data.pop()
    (tmp_path / "w").write_bytes(net.SerializeToString())
    with pytest.raises(ConfigError, match=r"w: layer ip: .* shape 2 x 3 holds 5 values"):
        read_weights_file(str(tmp_path / "w"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"layer { name: 'a' }", "text"),
        (b"\0" * 100, "zeros"),
        (b"\xff\xfe\x00\x01", "w is not a caffemodel"),
        (caffe_pb2.SolverState(iter=7, learned_net="a").SerializeToString(), "solverstate"),
        (caffe_pb2.NetParameter(name="n").SerializeToString(), "it names no layer"),
        (caffe_pb2.BlobProto(num=1, channels=1, height=1, width=1).SerializeToString(), "not a"),
    ],
)
def test_what_is_no_caffemodel(tmp_path, content, words):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_weights_file(str(tmp_path / "w"))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="w: cannot read the weights"):
        read_weights_file(str(tmp_path / "w"))


# HDF5.

h5py = pytest.importorskip("h5py")


def hdf5(path, **layers):
    with h5py.File(path, "w") as stream:
        data = stream.create_group("data")
        for name, values in layers.items():
            group = data.require_group(name.replace("__", "/"))
            for i, array in enumerate(values):
                group[str(i)] = array
    return str(path)


def test_hdf5(tmp_path):
    file = read_weights_file(
        hdf5(tmp_path / "w.h5", relu=[], ip=[VALUES.reshape(2, 3), VALUES], a__b=[VALUES], a=[])
    )
    assert sorted(layer.name for layer in file.layers) == ["a/b", "ip", "relu"]
    assert sorted(file.with_weights) == ["a/b", "ip"]
    assert file.with_weights["ip"].shapes == {0: Shape((2, 3)), 1: Shape((6,))}
    np.testing.assert_array_equal(file.values("ip")[0], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(file.values("a/b")[0], VALUES)


def test_hdf5_layers_within_layers(tmp_path):
    file = read_weights_file(hdf5(tmp_path / "w.h5", a=[VALUES], a__b=[VALUES, VALUES]))
    assert {name: len(layer.shapes) for name, layer in file.with_weights.items()} == {
        "a": 1, "a/b": 2,
    }  # fmt: skip


def test_a_state_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as stream:
        stream.create_group("history")
    with pytest.raises(ConfigError, match="s.h5 holds no weights .*solverstate"):
        read_weights_file(str(tmp_path / "s.h5"))
    with h5py.File(tmp_path / "s.h5", "w") as stream:
        stream["x"] = VALUES
    with pytest.raises(ConfigError, match="s.h5 holds no weights .it has x"):
        read_weights_file(str(tmp_path / "s.h5"))


@pytest.mark.parametrize("kind", ["external link", "soft link", "external values", "group link"])
def test_nothing_is_read_from_other_files(tmp_path, kind):
    path = hdf5(tmp_path / "w.h5", ip=[])
    secret = hdf5(tmp_path / "secret.h5", ip=[VALUES])
    with h5py.File(path, "r+") as stream:
        if kind == "external link":
            stream["data/ip/0"] = h5py.ExternalLink(secret, "/data/ip/0")
        elif kind == "soft link":
            stream["data/ip/0"] = h5py.SoftLink("/data/elsewhere")
        elif kind == "group link":
            stream["data/more"] = h5py.ExternalLink(secret, "/data/ip")
        else:
            (tmp_path / "raw").write_bytes(VALUES.tobytes())
            space = h5py.h5s.create_simple((6,))
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_external(str(tmp_path / "raw").encode(), 0, VALUES.nbytes)
            h5py.h5d.create(stream["data/ip"].id, b"0", h5py.h5t.NATIVE_FLOAT, space, dcpl=plist)
    with pytest.raises(ConfigError, match="w.h5: .*(is a link|values in other files)"):
        read_weights_file(path)


def test_groups_that_contain_themselves_or_each_other_end(tmp_path):
    path = hdf5(tmp_path / "w.h5", ip=[VALUES])
    with h5py.File(path, "r+") as stream:
        stream["data/ip/loop"] = stream["data/ip"]
    assert "ip" in read_weights_file(path).with_weights
    with h5py.File(path, "r+") as stream:
        group = stream["data"]
        for _ in range(40):  # 2**40 paths
            below = group.create_group("a")
            group["b"] = below
            group = below
    with pytest.raises(ConfigError, match="w.h5: groups within groups, more than 8 deep"):
        read_weights_file(path)


def test_damaged_hdf5(tmp_path):
    path = tmp_path / "w.h5"
    hdf5(path, ip=[VALUES.reshape(2, 3)])
    content = path.read_bytes()
    for size in range(8, len(content), 131):
        path.write_bytes(content[:size])
        with pytest.raises(ConfigError, match="w.h5") as caught:
            read_weights_file(str(path))
        assert "\n" not in str(caught.value)


def test_a_forks_caffemodel_with_a_string_where_caffe_has_a_message(tmp_path):
    """DeepLab's MatWrite has number 145, which is parameter_param in BVLC Caffe."""
    net = caffe_pb2.NetParameter()
    net.layer.add(name="conv1").blobs.add(shape={"dim": [2]}, data=[1, 2])
    matwrite = b"\x0a\x01m\x12\x08MatWrite\x8a\x09\x04\x0a\x02\xff\xff"
    path = tmp_path / "deeplab.caffemodel"
    path.write_bytes(net.SerializeToString() + b"\xa2\x06" + bytes([len(matwrite)]) + matwrite)
    found = read_weights_file(str(path))
    assert [layer.name for layer in found.layers] == ["conv1", "m"]
    assert found.values("conv1")[0].tolist() == [1, 2]
