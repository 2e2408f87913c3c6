"""What is fuzzed: every way in which a file from elsewhere enters the engine.

A target takes the number of an input and a folder, and returns whether the engine accepted it. Only
CaffeError may come out of the engine; anything else is a bug.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np

from dualnet.engine.errors import CaffeError
from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe.api import get_solver
from tests.engine.differential.mutate import mutate_bytes, mutate_text
from tests.engine.differential.random_net import random_net

__all__ = ["TARGETS", "content_of", "feed"]

#: Nets whose blobs and parameters together hold more values are built but not run.
MOST_VALUES = 2_000_000

#: The same for solvers: more passes than this are the user's wish, not a hang.
MOST_PASSES = 100

SMALL = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "in" top: "conv" convolution_param {
  num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }
"""
SOLVER = """net: "small.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.001 lr_policy: "step"
gamma: 0.5 stepsize: 2 max_iter: 2 display: 1 type: "SGD" solver_mode: CPU random_seed: 1
snapshot_prefix: "small" iter_size: 1 average_loss: 1 clip_gradients: 5
"""
MORE_SOLVERS = [
    SOLVER,
    'type: "Adam" momentum2: 0.99 delta: 1e-8 lr_policy: "inv" power: 0.75 gamma: 0.1',
    'type: "RMSProp" rms_decay: 0.9 lr_policy: "multistep" stepvalue: 1 stepvalue: 2 '
    'regularization_type: "L1" snapshot_format: HDF5 test_iter: 1 test_interval: 1',
    "net_param { layer { } } train_net: 'x' test_net: 'y' train_state { phase: TEST level: 1 "
    "stage: 'a' } test_initialization: false snapshot: 1 debug_info: true",
    'solver_type: ADAGRAD lr_policy: "poly" power: 2 lr_policy: "sigmoid" lr_policy: "exp"',
]


def content_of(number: int, target: str) -> bytes:
    """The input of a number: the same each time."""
    draw = np.random.default_rng([4242, number])
    if target == "net":
        donors = [_valid(int(draw.integers(200))) for _ in range(2)]
        text = _valid(int(draw.integers(200)))
        return mutate_text(draw, text, donors).encode(errors="surrogateescape")
    if target == "solver":
        return mutate_text(draw, SOLVER, MORE_SOLVERS).encode(errors="surrogateescape")
    return mutate_bytes(draw, _binary(target))


def feed(content: bytes, target: str, folder: Path) -> bool:
    """Gives the content of a file to the engine; returns whether it was accepted."""
    path = folder / f"fuzzed.{target}"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            TARGETS[target](path)
    except CaffeError:
        return False
    return True


def _net(path: Path) -> None:
    net = Net(path, caffe_pb2.TRAIN)
    blobs = [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]
    if sum(blob.count for blob in blobs) < MOST_VALUES:
        net.forward()
        net.backward()


def _solver(path: Path) -> None:
    small = path.parent / "small.prototxt"
    if not small.exists():
        small.write_text(SMALL)
    solver = get_solver(str(path))
    passes = [solver.param.iter_size, *prototxt.read_solver(path).test_iter]
    if max(passes) < MOST_PASSES:
        solver.step(1)


def _weights(path: Path) -> None:
    net = _small_net(path.parent)
    net.copy_from(path)
    net.forward()


def _state(path: Path) -> None:
    _plain_solver(path.parent).restore(str(path))


def _blob(path: Path) -> None:
    from dualnet.engine.pycaffe import io

    io.blobproto_to_array(prototxt.read_binary(path, caffe_pb2.BlobProto))


TARGETS = {"net": _net, "solver": _solver, "caffemodel": _weights, "solverstate": _state,
           "binaryproto": _blob}  # fmt: skip


@cache
def _valid(seed: int) -> str:
    return random_net(seed).text


@cache
def _small_net(folder: Path) -> Net:
    path = folder / "small.prototxt"
    path.write_text(SMALL)
    return Net(path, caffe_pb2.TRAIN)


@cache
def _plain_solver(folder: Path) -> object:
    """A solver whose net is the small one and whose weights are in the folder."""
    _small_net(folder).save(folder / "small.caffemodel")
    path = folder / "plain.prototxt"
    net = folder / "small.prototxt"
    path.write_text(f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9')
    return get_solver(str(path))


@cache
def _binary(target: str) -> bytes:
    """A valid file of a kind."""
    draw = np.random.default_rng(0)

    def blob(shape: tuple[int, ...], legacy: bool = False) -> caffe_pb2.BlobProto:
        found = caffe_pb2.BlobProto(data=draw.standard_normal(shape).ravel())
        if legacy:
            found.num, found.channels, found.height, found.width = shape
        else:
            found.shape.dim.extend(shape)
        return found

    conv, ip = [(2, 3, 3, 3), (2,)], [(3, 8), (3,)]
    if target == "binaryproto":
        return blob((1, 3, 4, 4), legacy=True).SerializeToString()
    if target == "solverstate":
        state = caffe_pb2.SolverState(iter=3, current_step=1, learned_net="small.caffemodel")
        shapes = [*conv, (2,), (2,), (1,), *ip]
        state.history.extend([blob(shape) for shape in shapes])
        return state.SerializeToString()
    net = caffe_pb2.NetParameter(name="small")
    for name, kind, shapes in (
        ("conv", "Convolution", conv),
        ("norm", "BatchNorm", [(2,), (2,), (1,)]),
        ("ip", "InnerProduct", ip),
    ):
        blobs = [blob(shape) for shape in shapes]
        net.layer.add(name=name, type=kind, blobs=blobs)
    return net.SerializeToString()
