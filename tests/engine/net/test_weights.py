"""Weights by layer name: nothing that fits, layers of one name, names with slashes, other files."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError, WeightsError
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


def layer(name, bottom, top, outputs=3):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" '
        f"inner_product_param {{ num_output: {outputs} "
        'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" } } }\n'
    )


@pytest.fixture
def make(tmp_path):
    """Builds a net from its layers' text; random weights each time."""

    def build(*layers):
        path = tmp_path / "net.prototxt"
        path.write_text(INPUT + "".join(layers))
        return Net(str(path), 1)

    return build


def save(net, path):
    (net.save_hdf5 if path.suffix == ".h5" else net.save)(str(path))


@pytest.fixture(params=["w.caffemodel", "w.caffemodel.h5"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_a_file_that_gives_nothing_is_warned_of(make, path, capsys):
    save(make(layer("other", "x", "y")), path)
    net = make(layer("mine", "x", "y"))
    net.copy_from(str(path))
    said = capsys.readouterr().err.splitlines()
    assert any("Ignoring source layer other" in line for line in said)
    warnings = [line for line in said if line.startswith("W")]
    assert len(warnings) == 1 and "gave no weights" in warnings[0]
    assert "'other'" in warnings[0] and "'mine'" in warnings[0]


def test_a_file_that_gives_something_is_not(make, path, capsys):
    save(make(layer("mine", "x", "y")), path)
    make(layer("mine", "x", "y"), layer("top", "y", "z")).copy_from(str(path))
    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("W")]


def test_a_net_without_weights_needs_none(make, path, capsys):
    save(make(layer("other", "x", "y")), path)
    make('layer { name: "r" type: "ReLU" bottom: "x" top: "y" }').copy_from(str(path))
    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("W")]


def test_names_with_slashes(make, path):
    """As GoogLeNet's inception_3a/1x1; in HDF5 they are groups within groups."""
    text = layer("a/b", "x", "y"), layer("a", "y", "z"), layer("c/d/e", "z", "u")
    net, other = make(*text), make(*text)
    save(net, path)
    other.copy_from(str(path))
    for name in ("a/b", "a", "c/d/e"):
        for mine, theirs in zip(other.params[name], net.params[name]):
            np.testing.assert_array_equal(mine.data, theirs.data, name)


def test_of_two_layers_with_one_name_the_first_gets_the_weights(make, tmp_path):
    """Caffe takes the first layer of that name that it finds (BVLC Caffe was asked)."""
    net = make(layer("same", "x", "y"), layer("same", "y", "z"))
    before = [blob.data.copy() for blob in net.layers[2].blobs]
    source = make(layer("same", "x", "y"))
    source.save(str(tmp_path / "w.caffemodel"))
    net.copy_from(str(tmp_path / "w.caffemodel"))
    np.testing.assert_array_equal(net.layers[1].blobs[0].data, source.params["same"][0].data)
    for blob, values in zip(net.layers[2].blobs, before):
        np.testing.assert_array_equal(blob.data, values)


def test_of_two_stored_layers_with_one_name_the_last_counts(make, tmp_path):
    source = make(layer("same", "x", "y"), layer("same", "y", "z"))
    source.save(str(tmp_path / "w.caffemodel"))
    net = make(layer("same", "x", "y"))
    net.copy_from(str(tmp_path / "w.caffemodel"))
    np.testing.assert_array_equal(net.params["same"][0].data, source.layers[2].blobs[0].data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"layer { name: 'a' }", "text"),
        (b"PK\x03\x04" + bytes(range(40)), "zip"),
    ],
)
def test_other_files_are_named(make, tmp_path, content, words):
    (tmp_path / "w.caffemodel").write_bytes(content)
    with pytest.raises(PrototxtError, match=rf"w.caffemodel' is not a .*{words}") as caught:
        make(layer("mine", "x", "y")).copy_from(str(tmp_path / "w.caffemodel"))
    assert "\n" not in str(caught.value)


def test_a_solverstate_gives_no_weights(make, tmp_path, capsys):
    state = caffe_pb2.SolverState(iter=3, learned_net="a_iter_3.caffemodel")
    (tmp_path / "s").write_bytes(state.SerializeToString())
    with pytest.raises((PrototxtError, WeightsError), match="s' is not a .*solverstate"):
        make(layer("mine", "x", "y")).copy_from(str(tmp_path / "s"))


def test_hdf5_cannot_hold_two_layers_of_one_name(make, tmp_path):
    net = make(layer("same", "x", "y"), layer("same", "y", "z"))
    with pytest.raises(WeightsError, match="two layers with weights are called 'same'"):
        net.save_hdf5(str(tmp_path / "w.h5"))
    assert not (tmp_path / "w.h5").exists()
    relu = 'layer {{ name: "r" type: "ReLU" bottom: "{0}" top: "{0}" }}'
    net = make(layer("a", "x", "y"), relu.format("y"), layer("b", "y", "z"), relu.format("z"))
    net.save_hdf5(str(tmp_path / "w.h5"))
    net.copy_from(str(tmp_path / "w.h5"))
