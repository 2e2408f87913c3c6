"""The module that programs import as `caffe` (`python/caffe/__init__.py`, `_caffe.cpp`)."""

from __future__ import annotations

from dualnet.engine import proto
from dualnet.engine.core.blob import Blob, BlobVec, IntVec
from dualnet.engine.core.blob import BlobVec as RawBlobVec
from dualnet.engine.core.device import set_device, set_mode_cpu, set_mode_gpu
from dualnet.engine.core.random import set_random_seed
from dualnet.engine.errors import CaffeError
from dualnet.engine.layers.common.python import PythonLayer as Layer
from dualnet.engine.layers.registry import layer_type_list
from dualnet.engine.log import init_log, log
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, SolverParameter
from dualnet.engine.pycaffe import io, net_spec
from dualnet.engine.pycaffe.classifier import Classifier
from dualnet.engine.pycaffe.detector import Detector
from dualnet.engine.pycaffe.net_spec import NetSpec, layers, params, to_proto
from dualnet.engine.pycaffe.timer import Timer
from dualnet.engine.solvers.parallel import (
    NCCL,
    has_nccl,
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from dualnet.engine.solvers.solver import Solver
from dualnet.engine.solvers.solver_types import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "BoolVec",
    "CaffeError",
    "Classifier",
    "Detector",
    "DtypeVec",
    "IntVec",
    "Layer",
    "LayerParameter",
    "LayerVec",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "NetVec",
    "RMSPropSolver",
    "RawBlobVec",
    "SGDSolver",
    "Solver",
    "SolverParameter",
    "StringVec",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "proto",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]

#: The Caffe release whose interface this is.
__version__ = "1.0.0"

# The vectors that pycaffe's C++ side exchanges; here lists do.
BoolVec = DtypeVec = LayerVec = NetVec = StringVec = list
