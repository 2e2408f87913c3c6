"""Adam (Caffe `src/caffe/solvers/adam_solver.cpp`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["Adam"]


@register_rule("Adam")
class Adam(UpdateRule):
    """Averages of g (slot 0, decay `momentum`) and of g^2 (slot 1, decay `momentum2`).

    w -= rate * c * m / (sqrt(v) + delta), where c = sqrt(1 - momentum2^t) / (1 - momentum^t)
    corrects both averages for their start at zero. `delta` is added to the uncorrected root.
    """

    slots = 2

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        first, second = self.param.momentum, self.param.momentum2
        means, squares = self.slot(0), self.slot(1)
        torch._foreach_mul_(means, first)
        torch._foreach_add_(means, grads, alpha=1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - second)
        t = iteration + 1
        correction = math.sqrt(1 - second**t) / (1 - first**t)
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, self.param.delta)
        torch._foreach_copy_(grads, means)
        torch._foreach_div_(grads, divisors)
        torch._foreach_mul_(grads, [rate * correction for rate in rates])
