"""The module that programs import as `caffe`: names, timer, and what needs several GPUs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dualnet.engine.core import random
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import DeviceError
from dualnet.engine.pycaffe import api
from dualnet.engine.solvers import parallel
from dualnet.engine.solvers.solver_types import get_solver

NAMES = [
    "Net", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver",
    "AdamSolver", "NCCL", "Timer", "Layer", "get_solver", "layer_type_list", "init_log",
    "log", "set_mode_cpu", "set_mode_gpu", "set_device", "set_random_seed", "solver_count",
    "set_solver_count", "solver_rank", "set_solver_rank", "set_multiprocess", "has_nccl",
    "__version__", "TRAIN", "TEST", "Classifier", "Detector", "io", "layers", "params",
    "NetSpec", "to_proto", "Blob", "Solver", "SolverParameter", "LayerParameter", "BlobVec",
    "RawBlobVec", "LayerVec", "StringVec", "IntVec", "DtypeVec", "NetVec", "BoolVec",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_name_exists(name):
    assert hasattr(api, name)


PROGRAM = """
import caffe, caffe.draw, caffe.io
from caffe import coord_map, classifier, detector, layers as L, params as P, pycaffe
from caffe._caffe import BlobVec
from caffe.proto import caffe_pb2
from caffe.coord_map import crop
assert caffe.draw.draw_net and caffe.pycaffe.Net is caffe.Net
assert P.Pooling.MAX == 0 and L.ReLU is not None
assert not hasattr(caffe, "nonsense")
try:
    import caffe.nonsense
except ModuleNotFoundError:
    print("fine")
"""


def test_unmodified_programs_find_it(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "dualnet.engine", str(path)], capture_output=True, text=True
    )
    assert done.stdout == "fine\n", done.stderr


def test_timer():
    timer = api.Timer()
    assert timer.ms == 0
    timer.start()
    sum(range(1000))
    timer.stop()
    first = timer.ms
    assert first > 0 and timer.ms == first
    timer.stop()  # not running: nothing changes
    assert timer.ms == first
    timer.start()
    assert timer.ms > 0  # asking stops it, as in Caffe


def test_nccl_refuses():
    assert not api.has_nccl()
    with pytest.raises(DeviceError, match="NCCL.new_uid.*one GPU.*has_nccl"):
        api.NCCL.new_uid()
    with pytest.raises(DeviceError, match="NCCL.solver, uid."):
        api.NCCL(None, b"")


SOLVER = """net_param { layer { name: "d" type: "DummyData" top: "x" dummy_data_param {
  data_filler { type: "gaussian" } shape { dim: 2 dim: 2 } } } } base_lr: 1 lr_policy: "fixed"
  random_seed: 5 """


def test_rank_changes_the_seed(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER)
    api.set_multiprocess(True)
    api.set_solver_count(2)
    api.set_solver_rank(1)
    try:
        assert (api.solver_count(), api.solver_rank()) == (2, 1)
        value = get_solver(path).net.forward()["x"].copy()
    finally:
        parallel.set_solver_count(1)
        parallel.set_solver_rank(0)
    path.write_text(SOLVER.replace("5", "6"))
    random.set_random_seed(0)
    assert (get_solver(path).net.forward()["x"] == value).all()


@pytest.mark.parametrize("name", ["_gpu_data_ptr", "_gpu_diff_ptr"])
def test_no_device_address_on_the_cpu(name):
    with pytest.raises(DeviceError, match=f"{name}: the blob is on the CPU"):
        getattr(Blob((2,)), name)
