"""Damaged files: only CaffeError may come out. scripts/fuzz_engine.py feeds a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualnet.engine.errors import CaffeError
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.solvers import lr_policy
from tests.engine.differential import targets
from tests.engine.differential.targets import TARGETS, content_of, feed

#: Inputs a target; the same ones each time.
INPUTS = 60

quiet = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the files lie that the solvers name."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_damaged_files(folder, monkeypatch, target):
    monkeypatch.chdir(folder)
    accepted = [feed(content_of(number, target), target, folder) for number in range(INPUTS)]
    assert not all(accepted), "nothing was damaged"


@pytest.mark.parametrize("target", ["caffemodel", "solverstate", "binaryproto"])
def test_undamaged_files_are_accepted(folder, monkeypatch, target):
    monkeypatch.chdir(folder)
    assert feed(targets._binary(target), target, folder)


def test_undamaged_prototxt_is_accepted(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert feed(targets._valid(0).encode(), "net", folder)
    assert feed(targets.SOLVER.encode(), "solver", folder)


@quiet
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text(folder, text):
    feed(text.encode(), "net", folder)
    feed(text.encode(), "solver", folder)


@quiet
@given(content=st.binary(max_size=200), target=st.sampled_from(["caffemodel", "solverstate"]))
def test_any_bytes(folder, content, target):
    feed(content, target, folder)


# Kept from earlier runs


def refuse(folder: Path, text: str, words: str, inputs: str = "dim: 2 dim: 3 dim: 4") -> None:
    """Checks that a net of one layer on one input is refused with these words."""
    path = folder / "refused.prototxt"
    path.write_text(
        f'layer {{ name: "in" type: "Input" top: "in" input_param {{ shape {{ {inputs} }} }} }}\n'
        f'layer {{ name: "x" bottom: "in" top: "x" {text} }}\n'
    )
    with pytest.raises(CaffeError, match=words):
        Net(path, caffe_pb2.TRAIN).forward()


def test_fillers_refuse_impossible_numbers(folder):
    product = "type: 'InnerProduct' inner_product_param { num_output: 2 weight_filler { type: "
    refuse(folder, product + "'gaussian' std: -1 } }", "std must be 0 or more, it is -1")
    refuse(folder, product + "'gaussian' std: nan } }", "std must be 0 or more, it is nan")
    refuse(folder, product + "'uniform' min: 2 max: 1 } }", "min 2 must not exceed max 1")


def test_batch_norm_refuses_a_scalar(folder):
    refuse(folder, "type: 'BatchNorm'", "a scalar has no channels", inputs="")


def test_convolution_refuses_stride_0(folder):
    text = "type: 'Convolution' convolution_param { num_output: 1 kernel_size: 1 stride_h: 0 }"
    refuse(folder, text, "above 0", inputs="dim: 2 dim: 3 dim: 4 dim: 4")


def test_filler_of_an_empty_parameter(folder):
    path = folder / "empty.prototxt"
    path.write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 0 } } }\n'
        'layer { name: "x" type: "InnerProduct" bottom: "in" top: "x" inner_product_param { '
        "num_output: 2 weight_filler { type: 'xavier' } } }\n"
    )
    net = Net(path, caffe_pb2.TEST)
    assert net.params["x"][0].data.shape == (2, 0)
    assert net.forward()["x"].shape == (2, 2)


def test_accuracy_refuses_no_classes(folder):
    text = "type: 'Accuracy' bottom: 'in' accuracy_param { axis: 0 }"
    refuse(folder, text, "number of classes", inputs="dim: 0 dim: 3")


def test_pool_kernel_beyond_the_image_takes_no_memory(folder):
    path = folder / "pool.prototxt"
    path.write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 1 dim: 3 '
        'dim: 3 } } }\nlayer { name: "x" type: "Pooling" bottom: "in" top: "x" pooling_param { '
        "pool: AVE kernel_size: 2147483647 stride: 2147483647 } }\n"
    )
    net = Net(path, caffe_pb2.TEST)
    net.blobs["in"].data[...] = np.arange(9).reshape(1, 1, 3, 3)
    assert net.forward()["x"].item() == 4


def test_pool_stride_beyond_the_image_takes_no_memory(folder):
    path = folder / "pool.prototxt"
    path.write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 1 dim: 3 '
        'dim: 3 } } }\nlayer { name: "x" type: "Pooling" bottom: "in" top: "x" pooling_param { '
        "kernel_size: 2 stride: 4294967295 } }\n"
    )
    net = Net(path, caffe_pb2.TEST)
    net.blobs["in"].data[...] = np.arange(9).reshape(1, 1, 3, 3)
    assert net.forward()["x"][0, 0, 0, 0] == 4


@pytest.mark.parametrize(
    "policy",
    ['"poly" max_iter: 0', '"exp" gamma: 1e30 max_iter: 20', '"inv" gamma: 1 power: -1e30'],
)
def test_solver_refuses_a_rate_that_is_none(folder, monkeypatch, policy):
    monkeypatch.chdir(folder)
    (folder / "small.prototxt").write_text(targets.SMALL)
    (folder / "rate.prototxt").write_text(
        f'net: "small.prototxt" base_lr: 0.1 lr_policy: {policy} snapshot_prefix: "x"'
    )
    with pytest.raises(CaffeError, match="has no rate for iteration"):
        targets.get_solver("rate.prototxt").step(15)


def test_sigmoid_rate_long_before_its_step():
    param = caffe_pb2.SolverParameter(base_lr=1, lr_policy="sigmoid", gamma=1, stepsize=5000)
    assert lr_policy.learning_rate(param, 0, 0) == (0.0, 0)
    assert lr_policy.learning_rate(param, 5000, 0) == (0.5, 0)


def test_solver_refuses_no_passes(folder, monkeypatch):
    monkeypatch.chdir(folder)
    text = targets.SOLVER.replace("iter_size: 1", "iter_size: 0")
    (folder / "small.prototxt").write_text(targets.SMALL)
    (folder / "no_passes.prototxt").write_text(text)
    with pytest.raises(CaffeError, match="iter_size must be 1 or more, it is 0"):
        targets.get_solver("no_passes.prototxt")


@pytest.mark.parametrize("name", [b"small.\xff", b"small\x00.caffemodel"])
def test_solverstate_names_an_impossible_file(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    good = targets._binary("solverstate")
    old = b"\x12\x10small.caffemodel"
    assert old in good
    path = folder / "named.solverstate"
    path.write_bytes(good.replace(old, bytes([0x12, len(name)]) + name))
    with pytest.raises(CaffeError, match="UTF-8|no file name"):
        targets._state(path)


def test_blob_that_does_not_fill_its_shape(folder):
    path = folder / "mean.binaryproto"
    blob = caffe_pb2.BlobProto(data=np.zeros(5), num=1, channels=2, height=3, width=1)
    path.write_bytes(blob.SerializeToString())
    with pytest.raises(CaffeError, match=r"shape \(1, 2, 3, 1\) holds 5 data values"):
        targets._blob(path)


def test_parameters_larger_than_the_memory(folder, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8589934588")

    monkeypatch.setattr("dualnet.engine.core.filler.fill", full)
    text = 'type: "InnerProduct" inner_product_param { num_output: 2 weight_filler { } }'
    refuse(folder, text, r"'x' \(InnerProduct\): parameter 0 of shape \(2, 12\) takes 0.0 GiB")
