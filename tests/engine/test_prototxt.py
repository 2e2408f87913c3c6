"""Reading prototxt: positions in errors, and old layouts."""

from __future__ import annotations

import pytest

from dualnet.engine import prototxt
from dualnet.engine.errors import PrototxtError
from dualnet.engine.proto import caffe_pb2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name: "x"\nlayer { nam: "y" }', r"net:2:9: .*nam.*fields are: .*propagate_down"),
        ("layer { phase: TRIAN }", r"net:1:\d+: .*TRIAN.*values are: 'TRAIN', 'TEST'"),
        ("layer { name: 3 }", "net:1:"),
        ("layer {", "net:"),
    ],
)
def test_errors_say_where_and_what_would_be_valid(text, expected):
    with pytest.raises(PrototxtError, match=expected):
        prototxt.parse_text(text, caffe_pb2.NetParameter, "net")


def test_missing_files(tmp_path):
    with pytest.raises(RuntimeError, match="Could not open file .*none.prototxt"):
        prototxt.read_net(tmp_path / "none.prototxt")
    with pytest.raises(PrototxtError, match="cannot read"):
        prototxt.read_binary(tmp_path / "none.caffemodel", caffe_pb2.NetParameter)
    (tmp_path / "bad").write_bytes(b"\xff\xff\xff")
    with pytest.raises(PrototxtError, match="not a binary NetParameter"):
        prototxt.read_binary(tmp_path / "bad", caffe_pb2.NetParameter)


@pytest.mark.parametrize(
    "shape",
    ["input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4", "input_shape { dim: [1, 2, 3, 4] }"],
)
def test_input_fields_become_an_input_layer(tmp_path, shape):
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'input: "data" {shape} layer {{ name: "r" type: "ReLU" bottom: "data" top: "r" }}'
    )
    net = prototxt.read_net(path)
    assert [layer.type for layer in net.layer] == ["Input", "ReLU"]
    assert list(net.layer[0].top) == ["data"]
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 2, 3, 4]
    assert not net.input


def test_snapshot_prefix_and_solver_type(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("solver_type: NESTEROV")
    solver = prototxt.read_solver(path)
    assert solver.type == "Nesterov" and solver.snapshot_prefix == str(tmp_path / "solver")
    path.write_text(f'snapshot_prefix: "{tmp_path}"')
    assert prototxt.read_solver(path).snapshot_prefix == str(tmp_path / "solver")


def test_an_empty_file_of_weights_is_refused(tmp_path):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"")
    with pytest.raises(PrototxtError, match="w.caffemodel' is empty.*NetParameter"):
        prototxt.read_binary(path, caffe_pb2.NetParameter)
