"""The module that programs import as `caffe` (`python/caffe/__init__.py`, `_caffe.cpp`)."""

from __future__ import annotations

from dualnet.engine import io, net_spec, proto
from dualnet.engine.blob import Blob, BlobVec, IntVec
from dualnet.engine.blob import BlobVec as RawBlobVec
from dualnet.engine.device import set_device, set_mode_cpu, set_mode_gpu
from dualnet.engine.errors import CaffeError
from dualnet.engine.layers.python import PythonLayer as Layer
from dualnet.engine.layers.registry import layer_type_list
from dualnet.engine.log import init_log, log
from dualnet.engine.net import Net
from dualnet.engine.net_spec import NetSpec, layers, params, to_proto
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, SolverParameter
from dualnet.engine.random import set_random_seed
from dualnet.engine.solver import SGDSolver, Solver, get_solver

__all__ = [
    "TEST",
    "TRAIN",
    "Blob",
    "BlobVec",
    "CaffeError",
    "IntVec",
    "Layer",
    "LayerParameter",
    "Net",
    "NetSpec",
    "RawBlobVec",
    "SGDSolver",
    "Solver",
    "SolverParameter",
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

_solver_count = 1
_solver_rank = 0


def has_nccl() -> bool:
    """Whether several GPUs can train one net; the engine uses one."""
    return False


def solver_count() -> int:
    """How many solvers train together, as `set_solver_count` says."""
    return _solver_count


def set_solver_count(count: int) -> None:
    """Records how many solvers train together; the engine itself runs one."""
    global _solver_count
    _solver_count = int(count)


def solver_rank() -> int:
    """This solver's number, as `set_solver_rank` says."""
    return _solver_rank


def set_solver_rank(rank: int) -> None:
    """Records this solver's number."""
    global _solver_rank
    _solver_rank = int(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted for pycaffe's interface; each process runs its own engine in any case."""
