"""The prototxt that a run really uses: the user's, with the config's settings put in.

The resolved copies are written into the run directory, so that a run says exactly what it did and
any Caffe tool can open its nets. Everything that can be wrong in the text is found here, before
Caffe sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from dualnet.atomic import write_atomically
from dualnet.backend import caffe_pb2
from dualnet.config import Config
from dualnet.coupling import natural_weight
from dualnet.cut.check import (
    check_iter_size,
    check_net1,
    check_net2,
    compared_blobs,
    loss_layer,
    uses_dual,
)
from dualnet.cut.graph import (
    NetGraph,
    batch_size_of,
    read_solver,
    set_batch_size,
    solver_states,
)
from dualnet.cut.input_gradient import ask_for
from dualnet.cut.loss_tops import name_loss_tops
from dualnet.cut.solver_nets import OTHER_NETS, net_of
from dualnet.cut.upstream import last_maker
from dualnet.errors import ConfigError
from dualnet.recorded import damage_of
from dualnet.rundir import PieceDir
from dualnet.train.net.late_momentum import is_late

__all__ = ["NEVER", "Resolved", "resolve", "write"]

#: Python layers that `coupling.loss` can put in place of net1's loss, with their param_str.
_PYTHON_LOSSES = {
    "listing": ("EuclideanLossLayer", ""),
    "normalized": ("NormalizedEuclideanLossLayer", "norms: through"),
    "normalized_constant": ("NormalizedEuclideanLossLayer", "norms: constant"),
    "relative": ("RelativeEuclideanLossLayer", ""),
}

#: src/caffe/solvers/sgd_solver.cpp; another one ends the process at the first update.
_LR_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")

#: Those that count in max_iter, stepsize or stepvalue, if in anything.
_STRETCHABLE = ("fixed", "step", "multistep", "poly")

#: A test_interval that no training reaches; what `train.test_interval: 0` becomes.
NEVER = 2**31 - 1


@dataclass(frozen=True)
class Resolved:
    """A piece's solver and net as this run uses them."""

    #: Where they are written, and all else that the piece leaves.
    dir: PieceDir
    solver: Any
    net: Any
    train: NetGraph
    test: NetGraph
    #: What crosses the cut, labels left out; empty for `single`.
    cut_blobs: list[str]
    #: Names of the dual layers in this net, in forward order; empty where they play no part.
    dual: list[str]
    #: What is compared: the name on the way down (net1's input) to this net's own blob.
    compared: dict[str, str]
    #: Iterations between lines of the log; the solver's own is off, its lines would come twice.
    display: int
    #: Updates that one iteration makes; the solver counts updates.
    updates_per_iteration: int = 1
    #: Whether momentum has to bear late gradients (late_momentum.py).
    is_late: bool = False
    #: Files of weights to start from: the solver's own `weights`, then `train.weights`.
    weights: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """The piece's name."""
        return self.dir.name

    @property
    def max_iter(self) -> int:
        """Iterations of the training."""
        return int(self.solver.max_iter) // self.updates_per_iteration

    def cut_layer(self, graph: NetGraph) -> int:
        """The place of the last layer that works on what net1 sends up, in place or not.

        Args:
            graph: net1's, of either phase.
        """
        return last_maker(graph, self.cut_blobs)

    @property
    def iter_size(self) -> int:
        """Batches whose gradients one update takes the mean of."""
        return int(self.solver.iter_size)

    @property
    def is_frozen(self) -> bool:
        """Whether no loss of this net has a weight."""
        return not any(_loss_weight(layer) for layer in self.train.layers)

    @property
    def batch_size(self) -> int:
        """Samples of a training batch, as the prototxt says; 0 if only a Python layer knows."""
        sizes = [batch_size_of(layer) for layer in self.train.layers]
        return next((size for size in sizes if size), 0)


def resolve(config: Config, piece: PieceDir) -> Resolved:
    """Read, check and complete a piece's prototxt. Nothing is written yet; see `write`.

    Args:
        config: The run.
        piece: Where the result is to be written.

    Raises:
        ConfigError: A file is missing, or says something that cannot be trained.
    """
    role = piece.name
    source = config.piece(role).solver
    if not source:
        raise ConfigError(f"config: {role}.solver: not given; name {role}'s solver prototxt")
    solver = read_solver(source)
    found = net_of(solver, source)
    _refuse_several_tests(solver, source)
    for field in OTHER_NETS:
        solver.ClearField(field)
    weights = _weights(solver, config, source)
    net, net_source, states = found.net, found.path, solver_states(solver)
    name_loss_tops(net, net_source, states)
    _fill_solver(solver, config, piece, source)
    display, solver.display = solver.display, 0
    if config.train.batch_size:
        for layer in NetGraph(net, "TRAIN", net_source, states.get("TRAIN")).layers:
            set_batch_size(layer, config.train.batch_size)
    train = NetGraph(net, "TRAIN", net_source, states.get("TRAIN"))
    test = NetGraph(net, "TEST", net_source, states.get("TEST"))
    if role == "net1":
        check_net1(config, train, test if solver.test_iter else train)
        _set_losses(config, train)
    elif role == "net2":
        check_net2(config, train, test if solver.test_iter else train)
        if _ask_for_gradients(config, net, train, test):
            train = NetGraph(net, "TRAIN", net_source, states.get("TRAIN"))
            test = NetGraph(net, "TEST", net_source, states.get("TEST"))
    if not any(batch_size_of(layer) or _makes_data(layer) for layer in train.layers):
        raise ConfigError(
            f"{net_source}: no data layer in phase TRAIN; nothing says the batch size"
        )
    updates = _stretch_schedule(solver, config, role, source)
    return Resolved(
        dir=piece,
        solver=solver,
        net=net,
        train=train,
        test=test,
        cut_blobs=list(config.cut.blobs) if role != "single" else [],
        dual=_dual(config, role),
        compared=compared_blobs(config, role, train),
        display=display,
        updates_per_iteration=updates,
        is_late=is_late(config, role, solver, source),
        weights=weights,
    )


def _refuse_several_tests(solver: Any, source: str) -> None:
    for field in ("test_state", "test_net", "test_net_param"):
        count = len(getattr(solver, field))
        if count > 1:
            raise ConfigError(f"{source}: {count} {field}: one test net is supported; keep one")


def _weights(solver: Any, config: Config, source: str) -> tuple[str, ...]:
    """Take the files to start from out of the solver, and add the config's.

    Caffe's solver would load its own while it is built, and say so only in its own log.
    """
    own = [name.strip() for names in solver.weights for name in names.split(",")]
    solver.ClearField("weights")
    for key, paths in ((f"{source}: weights", own), ("train.weights", config.train.weights)):
        for path in paths:
            if not os.path.isfile(path):
                raise ConfigError(f"{key}: {path}: no such file; name caffemodels to start from")
            problem = damage_of(path)
            if problem:
                raise ConfigError(
                    f"{key}: {path}: {problem}; start from another one, or let the command that "
                    "trained it make it again"
                )
    return (*own, *config.train.weights)


def _dual(config: Config, role: str) -> list[str]:
    if role == "single" or not uses_dual(config):
        return []
    return list(config.cut.dual if role == "net1" else config.cut.dual.values())


def _loss_weight(layer: Any) -> float:
    """Sum of a layer's loss weights: as written, else 1 for Caffe's own losses, else 0."""
    if layer.loss_weight:
        return float(sum(layer.loss_weight))
    return 1.0 if layer.type.endswith("Loss") else 0.0


def _makes_data(layer: Any) -> bool:
    """Whether a layer makes batches of a size that no field of its own says."""
    return layer.type in ("Python", "DummyData") and not layer.bottom


def write(resolved: Resolved) -> None:
    """Leave the resolved solver and net in the run directory."""
    for path, message in (
        (resolved.dir.net, resolved.net),
        (resolved.dir.solver, resolved.solver),
    ):
        write_atomically(path, text_format.MessageToString(message).encode())


def _fill_solver(solver: Any, config: Config, piece: PieceDir, source: str) -> None:
    role, train = piece.name, config.train
    for key in ("max_iter", "test_interval", "display", "snapshot"):
        value = getattr(train, key)
        if value is not None:
            setattr(solver, key, value)
    if train.test_iter is not None:
        del solver.test_iter[:]
        solver.test_iter.append(train.test_iter)
    for rate in (config.update.learning_rate, config.piece(role).learning_rate):
        if rate is not None:
            solver.base_lr = rate
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
    check_iter_size(solver, source, config.coupling.target if role != "single" else None)
    if solver.test_interval == 0 or not solver.test_iter:
        # Caffe wants a positive interval wherever there is a test_iter.
        solver.test_interval, solver.test_initialization = NEVER, False
    solver.net = piece.net
    # Not yet the final names: train/checkpoint/caffe_files.py gives them.
    solver.snapshot_prefix = piece.temporary
    solver.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    solver.random_seed = config.seed
    on_gpu = config.piece(role).device != "cpu"
    solver.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value("GPU" if on_gpu else "CPU")
    if on_gpu:
        solver.device_id = int(config.piece(role).device)


def _stretch_schedule(solver: Any, config: Config, role: str, source: str) -> int:
    """Let a solver that makes several updates an iteration keep its schedule in iterations.

    The alternations of target admm share one iteration's learning rate; net2's local steps each
    have it whole.

    Returns:
        The updates that one iteration makes.
    """
    coupling = config.coupling
    shares_rate = role == "net1" and coupling.target == "admm"
    updates = coupling.alternations if shares_rate else 1
    if role == "net2":
        updates = config.train.local_steps
    if updates == 1:
        return 1
    if config.update.rule == "solver" and solver.lr_policy not in _STRETCHABLE:
        raise ConfigError(
            f"{source}: lr_policy: {solver.lr_policy} counts updates, and {role} makes {updates} "
            f"an iteration; use one of {', '.join(_STRETCHABLE)}"
        )
    if shares_rate:
        solver.base_lr /= updates
    solver.max_iter *= updates
    solver.stepsize *= updates
    solver.stepvalue[:] = [value * updates for value in solver.stepvalue]
    # The training loop tests and takes snapshots by itself; Caffe only checks the interval's sign.
    return updates


def _ask_for_gradients(config: Config, net: Any, train: NetGraph, test: NetGraph) -> bool:
    """Let net2 compute what it sends of gradients; whether that has changed the net."""
    target = config.coupling.target
    compared = list(compared_blobs(config, "net2", train).values())
    if target in ("activation", "updated"):
        compared = []  # values alone are sent
    are_sent = target == "backprop" or config.coupling.fidelity_interval > 0
    return ask_for(net, train, test, config.cut.blobs, compared, are_sent)


def _set_losses(config: Config, train: NetGraph) -> None:
    """Put coupling.loss and coupling.loss_weight into net1's loss layers."""
    coupling = config.coupling
    for wire, blob in compared_blobs(config, "net1", train).items():
        layer = loss_layer(train, blob, wire)
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
        elif weight is None:
            weight = natural_weight(coupling)
            if weight is None and coupling.loss != "prototxt" and not layer.loss_weight:
                # What EuclideanLoss has by default; a Python loss would leave net1 frozen.
                weight = 1.0
        if weight is not None:
            del layer.loss_weight[:]
            layer.loss_weight.append(weight)
