"""Stochastic gradient descent with momentum (Caffe `src/caffe/solvers/sgd_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["SGD"]

#: 1 - (1 - rate) in double precision has at least the precision of float32 from here on.
_LEAST_RATE = 1e-8


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

    def fused(
        self,
        grads: list[Tensor],
        weights: list[Tensor],
        rates: list[float],
        decays: list[float],
    ) -> bool:
        """See `UpdateRule.fused`."""
        history = self.slot(0)
        # PyTorch's kernel walks through memory, so all must lie in the same order. On GPUs it is
        # the launches that count, and they are few already.
        plain = all(t.is_contiguous() and not t.is_cuda for t in (*grads, *weights, *history))
        # 1 - dampening must give the rate back.
        exact = all(rate == 0 or abs(rate) >= _LEAST_RATE for rate in rates)
        if not (self.param.momentum and plain and exact):
            return False
        for rate, decay in set(zip(rates, decays)):
            chosen = [i for i, pair in enumerate(zip(rates, decays)) if pair == (rate, decay)]
            # h = momentum * h + (1 - dampening) * (g + decay * w); w -= lr * h.
            torch._fused_sgd_(
                [weights[i] for i in chosen], [grads[i] for i in chosen],
                [history[i] for i in chosen], weight_decay=decay, momentum=self.param.momentum,
                lr=1.0, dampening=1.0 - rate, nesterov=False, maximize=False, is_first_step=False,
            )  # fmt: skip
        torch._foreach_copy_(grads, history)
        return True
