"""AdaDelta (Caffe `src/caffe/solvers/adadelta_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["AdaDelta"]


@register_rule("AdaDelta")
class AdaDelta(UpdateRule):
    """Steps in the ratio of past steps to past gradients; `momentum` is the averages' decay.

    Slot 0 averages g^2, slot 1 the squared steps s^2, with
    s = g * sqrt((slot 1 + delta) / (slot 0 + delta)); w -= rate * s.
    """

    slots = 2

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """See `UpdateRule.compute`."""
        decay, delta = self.param.momentum, self.param.delta
        squares, steps = self.slot(0), self.slot(1)
        torch._foreach_mul_(squares, decay)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - decay)
        ratios = torch._foreach_add(steps, delta)
        torch._foreach_div_(ratios, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(ratios)
        torch._foreach_mul_(grads, ratios)
        torch._foreach_mul_(steps, decay)
        torch._foreach_addcmul_(steps, grads, grads, value=1 - decay)
        torch._foreach_mul_(grads, rates)
