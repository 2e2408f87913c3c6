"""Stochastic gradient descent with momentum (Caffe `src/caffe/solvers/sgd_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["SGD"]


@register_rule("SGD")
class SGD(UpdateRule):
    """h = momentum * h + rate * g; w -= h. The rate is inside h, unlike in PyTorch."""

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        history = self.slot(0)
        torch._foreach_mul_(grads, rates)
        if self.param.momentum:
            torch._foreach_add_(grads, history, alpha=self.param.momentum)
        torch._foreach_copy_(history, grads)
