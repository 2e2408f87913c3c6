"""The module that programs import as `caffe` (`python/caffe/__init__.py`, `_caffe.cpp`)."""

from __future__ import annotations

from dualnet.engine import io, net_spec, proto
from dualnet.engine.blob import Blob, BlobVec, IntVec
from dualnet.engine.blob import BlobVec as RawBlobVec
from dualnet.engine.classifier import Classifier
from dualnet.engine.detector import Detector
from dualnet.engine.device import set_device, set_mode_cpu, set_mode_gpu
from dualnet.engine.errors import CaffeError
from dualnet.engine.layers.python import PythonLayer as Layer
from dualnet.engine.layers.registry import layer_type_list
from dualnet.engine.log import init_log, log
from dualnet.engine.net import Net
from dualnet.engine.net_spec import NetSpec, layers, params, to_proto
from dualnet.engine.parallel import (
    NCCL,
    has_nccl,
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, SolverParameter
from dualnet.engine.random import set_random_seed
from dualnet.engine.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from dualnet.engine.timer import Timer

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
