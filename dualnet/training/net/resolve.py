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
from dualnet.config import Config, CutEnd, above, below
from dualnet.coupling import default_loss_weight
from dualnet.cut.check import check_end, compared_blobs, loss_layer
from dualnet.cut.data_files import locate_files
from dualnet.cut.graph import (
    NetGraph,
    batch_size_of,
    read_solver,
    set_batch_size,
    solver_states,
)
from dualnet.cut.input_gradient import ask_for
from dualnet.cut.loss_tops import name_loss_tops
from dualnet.cut.solver_nets import OTHER_NETS, SolverNet, net_of
from dualnet.errors import ConfigError
from dualnet.rundir import PieceDir
from dualnet.training.net.late_momentum import is_late
from dualnet.training.net.solver_settings import (
    fill_solver,
    refuse_several_tests,
    stretch_schedule,
    take_weights,
)

__all__ = ["Resolved", "resolve", "write"]

#: Python layers that `coupling.loss` can put in place of net1's loss, with their param_str.
_PYTHON_LOSSES = {
    "listing": ("EuclideanLossLayer", ""),
    "normalized": ("NormalizedEuclideanLossLayer", "norms: through"),
    "normalized_constant": ("NormalizedEuclideanLossLayer", "norms: constant"),
    "relative": ("RelativeEuclideanLossLayer", ""),
}


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
    #: The `random_seed` that its prototxt asks for, in whose place `seed` of the config is used.
    solver_seed: Optional[int] = None

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
    if not os.path.exists(source):
        place = "" if os.path.isabs(source) else f" (working directory {os.getcwd()})"
        raise ConfigError(
            f"config: {name}.solver: {source}: no such file beside the YAML, in a folder above it, "
            f"nor here{place}"
        )
    solver = read_solver(source)
    solver_seed = int(solver.random_seed) if solver.HasField("random_seed") else None
    found = net_of(solver, source)
    refuse_several_tests(solver, source)
    for field in OTHER_NETS:
        solver.ClearField(field)
    weights = take_weights(solver, config, source)
    net, net_source, states = found.net, found.path, solver_states(solver)
    _locate_data(found)
    name_loss_tops(net, net_source, states)
    ends = (below(config, name), above(config, name))
    fill_solver(solver, config, piece, source)
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
    updates = stretch_schedule(solver, config, name, ends, source)
    resolved = Resolved(
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
        solver_seed=solver_seed,
    )
    _check_middle(resolved)
    return resolved


def _locate_data(found: SolverNet) -> None:
    """Give layers the absolute paths of their files, so that the run's copy works anywhere."""
    origins = found.origins or list(range(len(found.net.layer)))
    for layer, origin in zip(found.net.layer, origins):
        locate_files(layer, found.test_path if origin is None else found.path, absolute=True)


def _check_middle(resolved: Resolved) -> None:
    """Refuse a piece in the middle that learns nothing while the one below is to learn from it."""
    below_end, above_end = resolved.below, resolved.above
    if below_end is None or above_end is None or below_end.coupling.target == "frozen":
        return
    if above_end.coupling.rule.compares and resolved.is_frozen:
        raise ConfigError(
            f"{resolved.train.path}: no loss of {resolved.name} has a loss_weight, so it learns "
            f"nothing and has no gradient for {below_end.neighbour}; give its loss on "
            f"{above_end.neighbour}'s answers a weight, or set {below_end.key}.target=frozen"
        )


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
            weight = default_loss_weight(coupling)
            if weight is None and coupling.loss != "prototxt" and not layer.loss_weight:
                # What EuclideanLoss has by default; a Python loss would leave net1 frozen.
                weight = 1.0
        if weight is not None:
            del layer.loss_weight[:]
            layer.loss_weight.append(weight)
