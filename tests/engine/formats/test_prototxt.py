"""Reading prototxt: positions in errors, and old layouts."""

from __future__ import annotations

import pytest

from dualnet.engine.errors import PrototxtError, UnknownLayerError
from dualnet.engine.formats import prototxt
from dualnet.engine.layers.registry import layer_type_list
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2, fork_names
from dualnet.engine.solvers.solver_types import get_solver


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "layer { pooling_param { torch_pooling: true } }",
            r'net:1:25: .*"torch_pooling".* It is a field of NVIDIA \(NVIDIA/caffe\), not of BVLC',
        ),
        (
            "layer { annotated_data_param { } }",
            r"field of SSD \(weiliu89/caffe\) and NVIDIA \(NVIDIA/caffe\), not of BVLC Caffe",
        ),
        ("layer { transform_param { resize_param { } } }", r"field of SSD \(weiliu89/caffe\)"),
        ("global_grad_scale: 2", r"field of NVIDIA \(NVIDIA/caffe\)"),
        ("layer { convolution_param { engine: MKL2017 } }", r"value of Intel \(intel/caffe\), not"),
        ("layer { convolution_param { engine: MKL } }", "values are: 'DEFAULT', 'CAFFE', 'CUDNN'"),
        ("layer { loss_param { normalization: PRE_FIXED } }", r"value of R-FCN \(daijifeng001"),
    ],
)
def test_a_name_of_a_fork_is_refused_with_the_forks_name(text, expected):
    with pytest.raises(PrototxtError, match=expected) as caught:
        prototxt.parse_text(text, caffe_pb2.NetParameter, "net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("MultiBoxLoss", r"type 'MultiBoxLoss', which is of SSD \(weiliu89/caffe\) and NVIDIA "),
        (
            "ImageSegData",
            r"which is of DeepLab \(deeplab-public-ver2\) and PSPNet \(hszhao/PSPNet\), ",
        ),
        ("BoxAnnotatorOHEM", r"which is of R-FCN \(daijifeng001/caffe-rfcn\)"),
        ("Convolutoin", r"unknown type 'Convolutoin'; the types are: .*Convolution,.* ROIPooling"),
    ],
)
def test_a_layer_of_a_fork_is_refused_with_file_and_fork(tmp_path, kind, expected):
    path = tmp_path / "net.prototxt"
    path.write_text(f'layer {{ name: "l" type: "{kind}" top: "x" }}')
    with pytest.raises(UnknownLayerError, match=f"^{path}: layer 'l' has .*{expected}"):
        Net(str(path), caffe_pb2.TRAIN)
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'net: "{path}" base_lr: 1 lr_policy: "fixed"')
    with pytest.raises(UnknownLayerError, match=f"^{path}: layer 'l' has .*{expected}"):
        get_solver(str(solver))


def test_the_table_of_forks_lists_nothing_that_the_engine_has():
    assert not fork_names.LAYERS & set(layer_type_list())
    pool = caffe_pb2.DESCRIPTOR.pool
    for message, name in fork_names._OWNERS:
        if message != "layers":
            found = pool.FindMessageTypeByName(f"caffe.{message}")
            assert name not in found.fields_by_name and name not in found.enum_values_by_name


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
