"""Nesterov's accelerated gradient (Caffe `src/caffe/solvers/nesterov_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["Nesterov"]


@register_rule("Nesterov")
class Nesterov(UpdateRule):
    """h' = momentum * h + rate * g; w -= (1 + momentum) * h' - momentum * h."""

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        momentum = self.param.momentum
        history = self.slot(0)
        before = torch._foreach_mul(history, momentum)  # momentum * h, of the last update
        torch._foreach_mul_(grads, rates)
        torch._foreach_copy_(history, torch._foreach_add(before, grads))
        torch._foreach_mul_(before, -1.0)
        torch._foreach_add_(before, history, alpha=1 + momentum)
        torch._foreach_copy_(grads, before)
