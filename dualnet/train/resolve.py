"""The prototxt that a run really uses: the user's, with the config's settings put in.

The resolved copies are written into the run directory (`net1_solver.prototxt`,
`net1_train_test.prototxt`, …), so that a run says exactly what it did and any Caffe tool can open
its halves. Everything that can be wrong in the text is found here, before Caffe sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from dualnet.atomic import write_atomically
from dualnet.backend import caffe_pb2
from dualnet.config import Config
from dualnet.cut.graph import NetGraph, batch_size_of, read_net, read_solver, set_batch_size
from dualnet.errors import ConfigError

__all__ = ["NEVER", "Resolved", "resolve", "write"]

#: Python layers that `coupling.loss` can put in place of net1's loss, with their param_str.
_PYTHON_LOSSES = {
    "listing": ("EuclideanLossLayer", ""),
    "normalized": ("NormalizedEuclideanLossLayer", "norms: through"),
    "normalized_constant": ("NormalizedEuclideanLossLayer", "norms: constant"),
}

#: What else than `net` may name or hold a solver's nets.
_OTHER_NETS = ("train_net", "test_net", "net_param", "train_net_param", "test_net_param")

#: src/caffe/solvers/sgd_solver.cpp; another one ends the process at the first update.
_LR_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")

#: A test_interval that no training reaches; what `train.test_interval: 0` becomes.
NEVER = 2**31 - 1


@dataclass(frozen=True)
class Resolved:
    """A role's solver and net as this run uses them."""

    role: str
    solver: Any
    net: Any
    train: NetGraph
    test: NetGraph
    solver_path: str
    net_path: str
    #: Names of the dual layers in this net, in forward order; empty for `single`.
    dual: list[str]
    #: Iterations between lines of the log; the solver's own is off, its lines would come twice.
    display: int

    @property
    def output_blob(self) -> str:
        """Output of the last dual layer, in this net."""
        return str(self.train.layer(self.dual[-1], "cut.dual").top[0])

    @property
    def is_frozen(self) -> bool:
        """Whether nothing in this net gets a gradient, as no loss has a weight."""
        return not any(_loss_weight(layer) for layer in self.train.layers)

    @property
    def batch_size(self) -> int:
        """Samples of a training batch."""
        sizes = [batch_size_of(layer) for layer in self.train.layers]
        return next(size for size in sizes if size)


def resolve(config: Config, role: str, run_dir: str) -> Resolved:
    """Read, check and complete a role's prototxt. Nothing is written yet; see `write`.

    Raises:
        ConfigError: A file is missing, or says something that cannot be trained.
    """
    source = config.half(role).solver
    if not source:
        raise ConfigError(f"config: {role}.solver: not given; name {role}'s solver prototxt")
    solver = read_solver(source)
    if not solver.net:
        raise ConfigError(f'{source}: no net: "…" in it; dualnet needs one train_test prototxt')
    others = [field.name for field, _ in solver.ListFields() if field.name in _OTHER_NETS]
    if others:
        raise ConfigError(f"{source}: {others[0]} beside net; keep net alone, with phases in it")
    for path in config.train.weights:
        if not os.path.isfile(path):
            raise ConfigError(
                f"train.weights: {path}: no such file; name caffemodels to start from"
            )
    net_source = solver.net
    net = read_net(net_source)
    _fill_solver(solver, config, role, run_dir, source)
    display, solver.display = solver.display, 0
    if config.train.batch_size:
        for layer in NetGraph(net, "TRAIN", net_source).layers:
            set_batch_size(layer, config.train.batch_size)
    train = NetGraph(net, "TRAIN", net_source)
    test = NetGraph(net, "TEST", net_source)
    if role == "net1":
        check_net1(config, train, test)
        _set_loss(config, train)
    elif role == "net2":
        check_net2(config, train, test)
    if not any(batch_size_of(layer) for layer in train.layers):
        raise ConfigError(
            f"{net_source}: no data layer in phase TRAIN; nothing says the batch size"
        )
    dual = {"net1": list(config.cut.dual), "net2": list(config.cut.dual.values())}.get(role, [])
    path = _path(run_dir, role, "solver")
    return Resolved(role, solver, net, train, test, path, solver.net, dual, display)


def _loss_weight(layer: Any) -> float:
    """Sum of a layer's loss weights: as written, else 1 for Caffe's own losses, else 0."""
    if layer.loss_weight:
        return float(sum(layer.loss_weight))
    return 1.0 if layer.type.endswith("Loss") else 0.0


def write(resolved: Resolved) -> None:
    """Leave the resolved solver and net in the run directory."""
    for path, message in (
        (resolved.net_path, resolved.net),
        (resolved.solver_path, resolved.solver),
    ):
        write_atomically(path, text_format.MessageToString(message).encode())


def _path(run_dir: str, role: str, kind: str) -> str:
    return os.path.join(run_dir, f"{role}_{kind}.prototxt")


def _fill_solver(solver: Any, config: Config, role: str, run_dir: str, source: str) -> None:
    train = config.train
    for key in ("max_iter", "test_interval", "display", "snapshot"):
        value = getattr(train, key)
        if value is not None:
            setattr(solver, key, value)
    if train.test_iter is not None:
        del solver.test_iter[:]
        solver.test_iter.append(train.test_iter)
    if config.update.learning_rate is not None:
        solver.base_lr = config.update.learning_rate
    if solver.max_iter < 1:
        raise ConfigError(f"{source}: max_iter: {solver.max_iter}; set it, or train.max_iter")
    if config.update.rule == "solver" and solver.lr_policy not in _LR_POLICIES:
        raise ConfigError(
            f"{source}: lr_policy: {solver.lr_policy!r} is none of {', '.join(_LR_POLICIES)}"
        )
    if len(solver.test_iter) > 1:
        raise ConfigError(
            f"{source}: {len(solver.test_iter)} test_iter: one test net is supported; keep one"
        )
    if solver.iter_size != 1 and role != "single":
        raise ConfigError(
            f"{source}: iter_size: {solver.iter_size}: the halves exchange every batch; set 1 and "
            "a larger train.batch_size"
        )
    if solver.test_interval == 0 or not solver.test_iter:
        # Caffe wants a positive interval wherever there is a test_iter.
        solver.test_interval, solver.test_initialization = NEVER, False
    solver.net = _path(run_dir, role, "train_test")
    # Not yet the final names: train/checkpoint.py gives them.
    solver.snapshot_prefix = os.path.join(run_dir, f".{role}.tmp")
    solver.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    solver.random_seed = config.seed
    on_gpu = config.half(role).device != "cpu"
    solver.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value("GPU" if on_gpu else "CPU")
    if on_gpu:
        solver.device_id = int(config.half(role).device)


def check_net1(config: Config, train: NetGraph, test: NetGraph) -> None:
    """net1 must produce the cut blob and compare its dual layer with an input."""
    cut = config.cut
    for graph in (train, test):
        graph.require_blob(cut.blob, "cut.blob")
        graph.require_blob(cut.label, "cut.label")
    last, partner = list(cut.dual.items())[-1]
    output = _check_dual(train, list(cut.dual), cut.blob)
    feed = train.require_blob(partner, "cut.dual")
    if feed.type not in ("MemoryData", "Input"):
        raise ConfigError(
            f"{train.path}: {partner} comes from layer {feed.name} of type {feed.type}; net2's "
            "output needs a MemoryData or Input layer of that name"
        )
    if feed.type == "MemoryData" and train.index(feed.name) != 0:
        raise ConfigError(
            f"{train.path}: MemoryData layer {feed.name} is layer {train.index(feed.name)}; "
            "pycaffe feeds layer 0 only, so move it before the data layer, or use an Input layer"
        )
    loss = loss_layer(train, output, partner)
    if train.index(loss.name) < train.index(last):
        raise ConfigError(
            f"{train.path}: loss {loss.name} stands before layer {last}; move it below"
        )


def check_net2(config: Config, train: NetGraph, test: NetGraph) -> None:
    """net2 must take the cut blob and labels as input, and keep its dual layer's output whole."""
    cut = config.cut
    for graph in (train, test):
        for blob, key in ((cut.blob, "cut.blob"), (cut.label, "cut.label")):
            feed = graph.require_blob(blob, key)
            if feed.type not in ("MemoryData", "Input"):
                raise ConfigError(
                    f"{graph.path}: {blob} comes from layer {feed.name} of type {feed.type} in "
                    f"phase {graph.phase}; what net1 sends needs a MemoryData or Input layer"
                )
            if feed.type == "MemoryData" and graph.index(feed.name) != 0:
                raise ConfigError(
                    f"{graph.path}: MemoryData layer {feed.name} is layer "
                    f"{graph.index(feed.name)} in phase {graph.phase}; pycaffe feeds layer 0 only, "
                    "so move it to the top"
                )
        for name in cut.dual.values():
            graph.layer(name, "cut.dual")
    _check_dual(train, list(cut.dual.values()), cut.blob)


def _check_dual(train: NetGraph, names: list[str], blob: str) -> str:
    """The dual layers must stand on the cut blob, in order, and their output must stay whole.

    Returns:
        The output blob of the last one.
    """
    layers = [train.layer(name, "cut.dual") for name in names]
    if blob not in layers[0].bottom:
        raise ConfigError(
            f"{train.path}: layer {names[0]} does not read {blob} but "
            f"{', '.join(layers[0].bottom)}; the dual layer must stand on the cut blob"
        )
    in_order = sorted(names, key=train.index)
    if names != in_order:
        raise ConfigError(
            f"{train.path}: cut.dual lists {', '.join(names)}, and the layers stand in the order "
            f"{', '.join(in_order)}; list them in forward order"
        )
    output = str(layers[-1].top[0])
    overwriter = train.overwriter(output, layers[-1])
    if overwriter is not None:
        raise ConfigError(
            f"{train.path}: layer {overwriter.name} overwrites {output} in place, and the outputs "
            f"of the dual layers are compared; give {overwriter.name} a top of its own"
        )
    return output


def loss_layer(train: NetGraph, output: str, partner: str) -> Any:
    """net1's loss: the layer that reads both outputs of the dual pair."""
    found: list[Any] = [
        layer for layer in train.layers if output in layer.bottom and partner in layer.bottom
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{train.path}: {len(found)} layers read both {output} and {partner}; exactly one loss "
            "must compare them"
        )
    return found[0]


def _set_loss(config: Config, train: NetGraph) -> None:
    """Put coupling.loss and coupling.loss_weight into net1's loss layer."""
    coupling = config.coupling
    last, partner = list(config.cut.dual.items())[-1]
    output = train.layer(last, "cut.dual").top[0]
    layer = loss_layer(train, output, partner)
    if coupling.loss == "euclidean":
        layer.type = "EuclideanLoss"
        layer.ClearField("python_param")
    elif coupling.loss in _PYTHON_LOSSES:
        layer.type = "Python"
        layer.python_param.module = "dualnet.layers"
        layer.python_param.layer, layer.python_param.param_str = _PYTHON_LOSSES[coupling.loss]
    weight = coupling.loss_weight
    if coupling.loss == "none":
        weight = 0.0
    elif weight is None and coupling.target == "gradient":
        weight = 1.0 / coupling.gamma
    elif weight is None and coupling.loss != "prototxt" and not layer.loss_weight:
        # What EuclideanLoss has by default; a Python loss would leave net1 frozen.
        weight = 1.0
    if weight is not None:
        del layer.loss_weight[:]
        layer.loss_weight.append(weight)
