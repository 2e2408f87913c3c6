"""Learning-rate schedules (Caffe `src/caffe/solvers/sgd_solver.cpp`, GetLearningRate)."""

from __future__ import annotations

import math
from typing import Callable

from dualnet.engine.errors import SolverError
from dualnet.engine.proto import caffe_pb2

__all__ = ["POLICIES", "check_policy", "learning_rate"]


#: The fields that each policy needs. Caffe takes 0 for a missing one, so that the rate of the first
#: three silently becomes 0.
POLICIES: dict[str, tuple[str, ...]] = {
    "exp": ("gamma",),
    "multistep": ("gamma",),
    "step": ("gamma", "stepsize"),
    "fixed": (),
    "inv": (),
    "poly": (),
    "sigmoid": ("stepsize",),
}


def check_policy(param: caffe_pb2.SolverParameter) -> None:
    """Raises SolverError for an unknown policy or a missing field.

    Args:
        param: the solver's settings.
    """
    if param.lr_policy not in POLICIES:
        raise SolverError(
            f"unknown lr_policy '{param.lr_policy}'; the policies are: {', '.join(POLICIES)}"
        )
    if not param.HasField("base_lr"):
        raise SolverError("the solver needs base_lr")
    for field in POLICIES[param.lr_policy]:
        if not param.HasField(field):
            raise SolverError(f"lr_policy '{param.lr_policy}' needs {field}")
    if param.gamma < 0:
        raise SolverError(f"gamma must be 0 or more, it is {param.gamma:g}")
    if "stepsize" in POLICIES[param.lr_policy] and param.stepsize <= 0:
        raise SolverError(
            f"lr_policy '{param.lr_policy}' needs stepsize above 0, it is {param.stepsize}"
        )


def learning_rate(
    param: caffe_pb2.SolverParameter, iteration: int, current_step: int
) -> tuple[float, int]:
    """The rate of an iteration.

    Args:
        param: the solver's settings.
        iteration: how many updates were made.
        current_step: how many step values a multistep policy had passed before.

    Returns:
        The rate, and the number of steps passed by now (step and multistep).
    """
    step = current_step
    if param.lr_policy == "step":
        step = iteration // param.stepsize
    elif param.lr_policy == "multistep":
        while step < len(param.stepvalue) and iteration >= param.stepvalue[step]:
            step += 1
    try:
        return param.base_lr * _FACTORS[param.lr_policy](param, iteration, step), step
    except (OverflowError, ValueError, ZeroDivisionError) as error:
        raise SolverError(
            f"lr_policy '{param.lr_policy}' has no rate for iteration {iteration}: {error}; its "
            f"settings are gamma {param.gamma:g}, power {param.power:g}, stepsize "
            f"{param.stepsize}, max_iter {param.max_iter}"
        ) from error


def _inv(p: caffe_pb2.SolverParameter, i: int, step: int) -> float:
    return float(math.pow(1 + p.gamma * i, -p.power))


def _poly(p: caffe_pb2.SolverParameter, i: int, step: int) -> float:
    return float(math.pow(max(0.0, 1 - i / p.max_iter), p.power))


def _sigmoid(p: caffe_pb2.SolverParameter, i: int, step: int) -> float:
    exponent = -p.gamma * (i - p.stepsize)
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0  # where exp overflows


_FACTORS: dict[str, Callable[[caffe_pb2.SolverParameter, int, int], float]] = {
    "exp": lambda p, i, step: float(math.pow(p.gamma, i)),
    "fixed": lambda p, i, step: 1.0,
    "inv": _inv,
    "multistep": lambda p, i, step: float(math.pow(p.gamma, step)),
    "poly": _poly,
    "sigmoid": _sigmoid,
    "step": lambda p, i, step: float(math.pow(p.gamma, step)),
}
