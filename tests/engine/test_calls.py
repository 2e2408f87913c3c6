"""pycaffe called in an old or wrong way: the error names the call, the argument and the right one.

Boost.Python's ArgumentError, BVLC Caffe's, is a TypeError too, so that programs that catch one
catch the engine's. What BVLC Caffe takes is taken here.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError
from dualnet.engine.pycaffe import api as caffe

NET = """
name: "n" input: "data" input_shape { dim: 1 dim: 1 dim: 2 dim: 2 }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "r" type: "ReLU" bottom: "ip" top: "r" }
"""
IMAGE = np.zeros((1, 1, 2, 2), np.float32)


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("n.prototxt").write_text(NET)
    pathlib.Path("s.prototxt").write_text('net: "n.prototxt" base_lr: 1 lr_policy: "fixed"')
    net = caffe.Net("n.prototxt", caffe.TEST)
    net.save("w.caffemodel")
    return net


def solver():
    return caffe.get_solver("s.prototxt")


#: (what is called, the error, parts of its message)
CALLS = [
    # Net
    (lambda net: caffe.Net("n.prototxt", "w.caffemodel"), TypeError,
     ["Net('n.prototxt', 'w.caffemodel'): no phase", "Net(network_file, phase, weights=",
      "Net(network_file, weights_file, phase)", "caffe.TRAIN or caffe.TEST"]),
    (lambda net: caffe.Net("n.prototxt"), TypeError,
     ["Net('n.prototxt'): Net() needs a phase", "caffe.TRAIN or caffe.TEST"]),
    (lambda net: caffe.Net(), TypeError, ["missing", "network_file"]),
    (lambda net: caffe.Net("n.prototxt", phase="test"), TypeError,
     ["phase is 'test', and an integer is needed; phase is caffe.TRAIN or caffe.TEST"]),
    (lambda net: caffe.Net("n.prototxt", 1.0), TypeError, ["phase is 1.0"]),
    (lambda net: caffe.Net("n.prototxt", 7), ValueError, ["phase is 7; phase is caffe.TRAIN"]),
    (lambda net: caffe.Net("n.prototxt", "w.caffemodel", "TEST"), TypeError, ["phase is 'TEST'"]),
    (lambda net: caffe.Net(caffe.TEST, "n.prototxt"), TypeError,
     ["Net(1, 'n.prototxt'): network_file is 1, and it names a file"]),
    (lambda net: caffe.Net("n.prototxt", caffe.TEST, weight="w"), TypeError,
     ["unexpected arguments: 'weight'", "weights=None)"]),
    (lambda net: caffe.Net("n.prototxt", caffe.TEST, level="a"), TypeError, ["level is 'a'"]),
    (lambda net: caffe.Net("n.prototxt", caffe.TEST, weights=3), TypeError, ["weights is 3"]),
    (lambda net: caffe.Net("gone.prototxt", caffe.TEST), CaffeError, ["gone.prototxt"]),
    (lambda net: caffe.Net("n.prototxt", caffe.TEST, weights="gone"), CaffeError, ["gone"]),
    # solvers
    (lambda net: caffe.SGDSolver("gone.prototxt"), CaffeError, ["gone.prototxt"]),
    (lambda net: caffe.SGDSolver(3), TypeError, ["SGDSolver(solver_file): solver_file is 3"]),
    (lambda net: caffe.get_solver(3), TypeError, ["get_solver(solver_file): solver_file is 3"]),
    (lambda net: solver().step("a"), TypeError, ["Solver.step(iterations): iterations is 'a'"]),
    (lambda net: solver().step(1.0), TypeError, ["iterations is 1.0, and an integer"]),
    (lambda net: solver().restore(3), TypeError, ["Solver.restore(state_file): state_file is 3"]),
    # the module
    (lambda net: caffe.set_device("a"), TypeError, ["set_device(index): index is 'a'"]),
    (lambda net: caffe.set_random_seed("a"), TypeError, ["set_random_seed(seed): seed is 'a'"]),
    (lambda net: caffe.set_mode_cpu(0), TypeError, ["set_mode_cpu()"]),
    # passes
    (lambda net: net.forward(dat=IMAGE), CaffeError, ["given 'dat', the net has 'data'"]),
    (lambda net: net.forward(IMAGE), TypeError, ["Net.forward", "(1, 1, 2, 2)", "data=array"]),
    (lambda net: net.forward(blobs="ip"), TypeError, ["Net.forward(blobs='ip')", "['ip']"]),
    (lambda net: net.backward(diffs="ip"), TypeError, ["Net.backward(diffs='ip')", "['ip']"]),
    (lambda net: net.forward(blobs=["x"]), ValueError, ["no blob 'x'", "'data', 'ip', 'r'"]),
    (lambda net: net.forward(start="x"), ValueError, ["no layer 'x'", "'input', 'ip', 'r'"]),
    (lambda net: net.forward(end="data"), ValueError, ["'data' (that is a blob"]),
    (lambda net: net.forward(start=1), ValueError, ["no layer '1'"]),
    (lambda net: net.backward(start="x"), ValueError, ["no layer 'x'"]),
    (lambda net: net.forward(data=np.zeros((1, 1, 3, 2))), ValueError,
     ["forward(data=…): shape (1, 1, 3, 2) does not fit blob 'data' of shape (1, 1, 2, 2)"]),
    (lambda net: net.backward(r=np.zeros((1, 3))), ValueError,
     ["backward(r=…): shape (1, 3) does not fit blob 'r' of shape (1, 2)"]),
    # blobs and weights
    (lambda net: net.blobs["data"].reshape((1, 1, 2, 2)), TypeError, ["reshape(*shape)"]),
    (lambda net: net.blobs["data"].reshape("a"), TypeError, ["Blob.reshape('a',)", "integer"]),
    (lambda net: net.copy_from(3), TypeError, ["Net.copy_from(weights_file): weights_file is 3"]),
    (lambda net: net.copy_from("gone"), CaffeError, ["gone"]),
    (lambda net: net.save(3), TypeError, ["Net.save(path): path is 3"]),
    (lambda net: net.share_with("x"), TypeError, ["Net.share_with(other): other is 'x'"]),
    # Classifier
    (lambda net: caffe.Classifier("n.prototxt", "gone"), CaffeError, ["gone"]),
    (lambda net: caffe.Classifier("n.prototxt", "w.caffemodel", mean="m.npy"), TypeError,
     ["set_mean('data', 'm.npy')", "np.load"]),
    (lambda net: caffe.Classifier("n.prototxt", "w.caffemodel", gpu=True), TypeError, ["gpu"]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_wrong_call_is_named(net, number):
    call, kind, parts = CALLS[number]
    with pytest.raises(kind) as caught:
        call(net)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_what_caffe_takes_is_taken(net):
    """The legacy order, keywords in any order, and integers of NumPy."""
    old = caffe.Net("n.prototxt", "w.caffemodel", caffe.TEST)
    new = caffe.Net(network_file="n.prototxt", weights="w.caffemodel", phase=caffe.TEST)
    for one, two in zip(old.params["ip"], new.params["ip"]):
        np.testing.assert_array_equal(one.data, two.data)
    caffe.Net("n.prototxt", np.int64(1), 0, ["deploy"], "w.caffemodel")
    caffe.Net(pathlib.Path("n.prototxt"), caffe.TEST)
    caffe.set_random_seed(np.int32(3))
    solver().step(np.int64(0))
    assert set(net.forward(["ip"], data=IMAGE)) == {"ip", "r"}
