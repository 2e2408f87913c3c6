"""The prototxt that a run really uses: the user's, with the config's settings put in.

The resolved copies are written into the run directory, so that a run says exactly what it did and
any Caffe tool can open its nets. Everything that can be wrong in the text is found here, before
Caffe sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Optional

from google.protobuf import text_format

from dualnet.atomic import write_atomically
from dualnet.backend import caffe_pb2
from dualnet.config import Config, CutEnd, above, below
from dualnet.coupling import natural_weight
from dualnet.cut.check import check_end, check_iter_size, compared_blobs, loss_layer
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
    #: Its ends of the cuts below and above; None where there is no piece.
    below: Optional[CutEnd]
    above: Optional[CutEnd]
    #: What is compared at either: the name on the way down to this net's own blob.
    compared_below: dict[str, str]
    compared_above: dict[str, str]
    #: Iterations between lines of the log; the solver's own is off, its lines would come twice.
    display: int
    #: Updates that one iteration makes; the solver counts updates.
    updates_per_iteration: int = 1
    #: Whether gradients arrive late, so that momentum is interleaved (late_momentum.py).
    is_late: bool = False
    #: Files of weights to start from: the solver's own `weights`, then `train.weights`.
    weights: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The piece's name."""
        return self.dir.name

    @property
    def max_iter(self) -> int:
        """Iterations of the training."""
        return int(self.solver.max_iter) // self.updates_per_iteration

    @property
    def ends(self) -> list[CutEnd]:
        """Its ends of the cuts that there are, that below first."""
        return [end for end in (self.below, self.above) if end is not None]

    @property
    def dual_below(self) -> list[str]:
        """Its copies of the dual layers at the cut below, in forward order; [] without a part."""
        return self.below.dual if self.below is not None else []

    @property
    def dual_above(self) -> list[str]:
        """Its dual layers at the cut above, in forward order; [] where they play no part."""
        return self.above.dual if self.above is not None else []

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
    name = piece.name
    source = config.piece(name).solver
    if not source:
        raise ConfigError(f"config: {name}.solver: not given; name {name}'s solver prototxt")
    solver = read_solver(source)
    found = net_of(solver, source)
    _refuse_several_tests(solver, source)
    for field in OTHER_NETS:
        solver.ClearField(field)
    weights = _weights(solver, config, source)
    net, net_source, states = found.net, found.path, solver_states(solver)
    name_loss_tops(net, net_source, states)
    ends = (below(config, name), above(config, name))
    _fill_solver(solver, config, piece, source)
    display, solver.display = solver.display, 0
    if config.train.batch_size:
        for layer in NetGraph(net, "TRAIN", net_source, states.get("TRAIN")).layers:
            set_batch_size(layer, config.train.batch_size)
    train = NetGraph(net, "TRAIN", net_source, states.get("TRAIN"))
    test = NetGraph(net, "TEST", net_source, states.get("TEST"))
    _take_in_parts(config, solver, train)
    compared: list[dict[str, str]] = []
    for end in ends:
        if end is not None:
            check_end(end, train, test if solver.test_iter else train)
        compared.append(compared_blobs(end, train) if end is not None else {})
    end_below, end_above = ends
    if end_above is not None:
        _set_losses(end_above, compared[1], train)
    if end_below is not None and _ask_for_gradients(end_below, compared[0], net, train, test):
        train = NetGraph(net, "TRAIN", net_source, states.get("TRAIN"))
        test = NetGraph(net, "TEST", net_source, states.get("TEST"))
    if not any(batch_size_of(layer) or _makes_data(layer) for layer in train.layers):
        raise ConfigError(
            f"{net_source}: no data layer in phase TRAIN; nothing says the batch size"
        )
    updates = _stretch_schedule(solver, config, name, ends, source)
    return Resolved(
        dir=piece,
        solver=solver,
        net=net,
        train=train,
        test=test,
        below=end_below,
        above=end_above,
        compared_below=compared[0],
        compared_above=compared[1],
        display=display,
        updates_per_iteration=updates,
        is_late=is_late(config, name, solver, source),
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


def _take_in_parts(config: Config, solver: Any, train: NetGraph) -> None:
    """Let each update take its batch in `train.micro_batches` parts.

    Raises:
        ConfigError: A batch cannot be divided so.
    """
    parts = config.train.micro_batches
    if parts == 1:
        return
    for layer in train.layers:
        size = batch_size_of(layer) or 0
        if size % parts:
            raise ConfigError(
                f"{train.path}: layer {layer.name} has batches of {size}, and train.micro_batches: "
                f"{parts} does not divide that; choose another number, or set train.batch_size"
            )
        if _makes_data(layer) and not size:
            raise ConfigError(
                f"{train.path}: layer {layer.name} of type {layer.type} decides by itself how "
                f"large a batch is, so train.micro_batches: {parts} cannot divide it; make its "
                f"batches smaller, and set iter_size: {parts} in the solver"
            )
        if size:
            set_batch_size(layer, size // parts)
    solver.iter_size *= parts


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
    name, train = piece.name, config.train
    for key in ("max_iter", "test_interval", "display", "snapshot"):
        value = getattr(train, key)
        if value is not None:
            setattr(solver, key, value)
    if train.test_iter is not None:
        del solver.test_iter[:]
        solver.test_iter.append(train.test_iter)
    for rate in (config.update.learning_rate, config.piece(name).learning_rate):
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
    targets = [end.coupling.target for end in (below(config, name), above(config, name)) if end]
    check_iter_size(solver, source, config.train.micro_batches, targets)
    if solver.test_interval == 0 or not solver.test_iter:
        # Caffe wants a positive interval wherever there is a test_iter.
        solver.test_interval, solver.test_initialization = NEVER, False
    solver.net = piece.net
    # Not yet the final names: train/checkpoint/caffe_files.py gives them.
    solver.snapshot_prefix = piece.temporary
    solver.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    solver.random_seed = config.seed
    on_gpu = config.piece(name).device != "cpu"
    solver.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value("GPU" if on_gpu else "CPU")
    if on_gpu:
        solver.device_id = int(config.piece(name).device)


def _stretch_schedule(
    solver: Any,
    config: Config,
    name: str,
    ends: tuple[Optional[CutEnd], Optional[CutEnd]],
    source: str,
) -> int:
    """Let a solver that makes several updates an iteration keep its schedule in iterations.

    The alternations of target admm share one iteration's learning rate; the local steps of the last
    piece each have it whole.

    Returns:
        The updates that one iteration makes.
    """
    end_below, end_above = ends
    shares_rate = end_above is not None and end_above.coupling.rule.alternates
    updates = config.coupling.alternations if shares_rate else 1
    if end_below is not None and end_above is None:
        updates = config.train.local_steps
    if updates == 1:
        return 1
    if config.update.rule == "solver" and solver.lr_policy not in _STRETCHABLE:
        raise ConfigError(
            f"{source}: lr_policy: {solver.lr_policy} counts updates, and {name} makes {updates} "
            f"an iteration; use one of {', '.join(_STRETCHABLE)}"
        )
    if shares_rate:
        solver.base_lr /= updates
    solver.max_iter *= updates
    solver.stepsize *= updates
    solver.stepvalue[:] = [value * updates for value in solver.stepvalue]
    # The training loop tests and takes snapshots by itself; Caffe only checks the interval's sign.
    return updates


def _ask_for_gradients(
    end: CutEnd, compared: dict[str, str], net: Any, train: NetGraph, test: NetGraph
) -> bool:
    """Let a net compute what it sends down of gradients; whether that has changed the net."""
    rule = end.coupling.rule
    read = list(compared.values()) if rule.reads_gradients else []
    are_sent = rule.sends_gradients or end.coupling.fidelity_interval > 0
    return ask_for(net, train, test, end.cut.blobs, read, are_sent)


def _set_losses(end: CutEnd, compared: dict[str, str], train: NetGraph) -> None:
    """Put the rule's loss and loss_weight into the layers that compare what comes down."""
    coupling = end.coupling
    for sent_name, blob in compared.items():
        layer = loss_layer(train, blob, sent_name)
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
