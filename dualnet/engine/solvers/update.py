"""One update: clip, average, regularise, apply the rule (Caffe `src/caffe/solvers/sgd_solver.cpp`).

The order is Caffe's, and differs from other frameworks': gradients are clipped as summed over
`iter_size` passes, then divided by it, and weight decay is added last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine import log
from dualnet.engine.errors import SolverError
from dualnet.engine.net.node import ParamEntry
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.solvers.rule import UpdateRule

__all__ = ["update"]


def update(
    param: caffe_pb2.SolverParameter,
    learnable: Sequence[ParamEntry],
    rule: UpdateRule,
    rate: float,
    iteration: int,
) -> None:
    """Subtracts from each parameter what the rule makes of its gradient.

    The gradients are left holding what was subtracted, as Caffe leaves them.

    Args:
        param: the solver's settings.
        learnable: the parameters that own their memory.
        rule: the update rule, with its history.
        rate: the learning rate before `lr_mult`.
        iteration: how many updates were made before.
    """
    if not learnable:
        return
    grads = [p.blob.diff_tensor for p in learnable]
    weights = [p.blob.data_tensor for p in learnable]
    _clip(param, grads)
    if param.iter_size > 1:
        torch._foreach_div_(grads, float(param.iter_size))
    kind = param.regularization_type
    if kind not in ("L1", "L2"):
        raise SolverError(f"unknown regularization_type '{kind}'; the types are: L1, L2")
    rates = [rate * p.spec.lr_mult for p in learnable]
    decays = [param.weight_decay * p.spec.decay_mult for p in learnable]
    if kind == "L2" and rule.fused(grads, weights, rates, decays):
        return  # weight decay and the weights' update included
    for grad, weight, decay in zip(grads, weights, decays):
        if decay:
            grad.add_(weight.sign() if kind == "L1" else weight, alpha=decay)
    rule.compute(grads, rates, iteration)
    torch._foreach_sub_(weights, grads)


def _clip(param: caffe_pb2.SolverParameter, grads: list[Tensor]) -> None:
    """Scales all gradients down to a common L2 norm of `clip_gradients`."""
    limit = param.clip_gradients
    if limit < 0:
        return
    squares = torch.stack([g.square().sum() for g in grads])
    norm = math.sqrt(float(squares.sum(dtype=torch.float64)))  # one copy from the GPU for all
    if norm > limit:
        log.info(
            f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g}) by "
            f"scale factor {limit / norm:g}"
        )
        torch._foreach_mul_(grads, limit / norm)
