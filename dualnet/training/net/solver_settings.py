"""What a run puts into a piece's solver: the config's settings, and what dualnet does itself."""

from __future__ import annotations

import os
from typing import Any, Optional

from dualnet.backend import caffe_pb2
from dualnet.config import Config, CutEnd, above, below
from dualnet.config.named_file import find, looked_in
from dualnet.cut.check import check_iter_size
from dualnet.errors import ConfigError
from dualnet.recorded import damage_of
from dualnet.rundir import PieceDir

__all__ = ["NEVER", "fill_solver", "refuse_several_tests", "stretch_schedule", "take_weights"]

#: src/caffe/solvers/sgd_solver.cpp; another one ends the process at the first update.
_LR_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")

#: Those that count in max_iter, stepsize or stepvalue, if in anything.
_STRETCHABLE = ("fixed", "step", "multistep", "poly")

#: A test_interval that no training reaches; what `train.test_interval: 0` becomes.
NEVER = 2**31 - 1


def refuse_several_tests(solver: Any, source: str) -> None:
    for field in ("test_state", "test_net", "test_net_param"):
        count = len(getattr(solver, field))
        if count > 1:
            raise ConfigError(f"{source}: {count} {field}: one test net is supported; keep one")


def take_weights(solver: Any, config: Config, source: str) -> tuple[str, ...]:
    """Take the files to start from out of the solver, and add the config's.

    Caffe's solver would load its own while it is built, and say so only in its own log.
    """
    own = [name.strip() for names in solver.weights for name in names.split(",")]
    solver.ClearField("weights")
    own = [find(name, source) for name in own]
    for key, paths in ((f"{source}: weights", own), ("train.weights", config.train.weights)):
        for path in paths:
            if not os.path.isfile(path):
                raise ConfigError(
                    f"{key}: {path}: no such file{looked_in(path, source)}; name caffemodels to "
                    "start from"
                )
            problem = damage_of(path)
            if problem:
                raise ConfigError(
                    f"{key}: {path}: {problem}; start from another one, or let the command that "
                    "trained it make it again"
                )
    return (*own, *config.train.weights)


def fill_solver(solver: Any, config: Config, piece: PieceDir, source: str) -> None:
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
    # Not yet the final names: training/checkpoint/caffe_files.py gives them.
    solver.snapshot_prefix = piece.temporary
    solver.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    solver.random_seed = config.seed
    on_gpu = config.piece(name).device != "cpu"
    solver.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value("GPU" if on_gpu else "CPU")
    if on_gpu:
        solver.device_id = int(config.piece(name).device)


def stretch_schedule(
    solver: Any,
    config: Config,
    name: str,
    ends: tuple[Optional[CutEnd], Optional[CutEnd]],
    source: str,
) -> int:
    """Scale max_iter, stepsize and stepvalue by the updates that a piece makes in an iteration.

    Caffe's solver counts updates, and the user's schedule is in iterations. The alternations of
    target admm share one iteration's learning rate; the local steps of the last piece each have it
    whole.

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
