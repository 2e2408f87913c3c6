"""AdaGrad (Caffe `src/caffe/solvers/adagrad_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["AdaGrad"]


@register_rule("AdaGrad")
class AdaGrad(UpdateRule):
    """h += g^2; w -= rate * g / (sqrt(h) + delta)."""

    def check(self) -> None:
        """Refuses momentum, which the rule does not use."""
        self.refuse_momentum()

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        history = self.slot(0)
        torch._foreach_addcmul_(history, grads, grads)
        divisors = torch._foreach_sqrt(history)
        torch._foreach_add_(divisors, self.param.delta)
        torch._foreach_div_(grads, divisors)
        torch._foreach_mul_(grads, rates)
