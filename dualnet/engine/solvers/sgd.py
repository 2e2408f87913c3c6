"""Stochastic gradient descent with momentum (Caffe `src/caffe/solvers/sgd_solver.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.solvers.rule import UpdateRule, register_rule

__all__ = ["SGD"]

#: The kernel takes dampening = 1 - rate instead of the rate. For rates from here on, computing
#: 1 - dampening in double precision gives the rate back to the precision of float32.
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
        """See `UpdateRule.fused`; for momentum on the CPU.

        Caffe's history holds rate * gradient. PyTorch's kernel computes
        h = momentum * h + (1 - dampening) * (g + decay * w) and w -= lr * h: with lr 1 and
        dampening 1 - rate that is Caffe's rule.
        """
        history = self.slot(0)
        # The fused CPU kernel needs tensors of one memory layout. On a GPU `compute` needs few
        # kernel launches already, which is what counts there.
        plain = all(t.is_contiguous() and not t.is_cuda for t in (*grads, *weights, *history))
        exact = all(rate == 0 or abs(rate) >= _LEAST_RATE for rate in rates)
        if not (self.param.momentum and plain and exact):
            return False
        for rate, decay in set(zip(rates, decays)):
            chosen = [i for i, pair in enumerate(zip(rates, decays)) if pair == (rate, decay)]
            # The kernel takes one rate and one decay a call: parameters of one pair go together.
            torch._fused_sgd_(
                [weights[i] for i in chosen], [grads[i] for i in chosen],
                [history[i] for i in chosen], weight_decay=decay, momentum=self.param.momentum,
                lr=1.0, dampening=1.0 - rate, nesterov=False, maximize=False, is_first_step=False,
            )  # fmt: skip
        torch._foreach_copy_(grads, history)
        return True
