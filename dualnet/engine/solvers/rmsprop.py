"""RMSProp (Caffe `src/caffe/solvers/rmsprop_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.errors import SolverError
from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["RMSProp"]


@register_rule("RMSProp")
class RMSProp(UpdateRule):
    """h = decay * h + (1 - decay) * g^2; w -= rate * g / (sqrt(h) + delta)."""

    def check(self) -> None:
        """Refuses momentum and a decay that is no average."""
        self.refuse_momentum()
        if not 0 <= self.param.rms_decay < 1:
            raise SolverError(
                f"rms_decay must lie between 0 and 1 (excluded), it is {self.param.rms_decay:g}"
            )

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        decay = self.param.rms_decay
        history = self.slot(0)
        torch._foreach_mul_(history, decay)
        torch._foreach_addcmul_(history, grads, grads, value=1 - decay)
        divisors = torch._foreach_sqrt(history)
        torch._foreach_add_(divisors, self.param.delta)
        torch._foreach_div_(grads, divisors)
        torch._foreach_mul_(grads, rates)
