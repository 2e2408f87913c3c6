"""Weight update rules: thesis equation (7.1) by hand, or the solver's own.

The gradients may be in another net than the one in training, which shares its weights: a rule takes
them from there without a copy where it can. On a GPU each copy is a device-to-host transfer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet import config as cfg
from dualnet.errors import ConfigError
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.resolve import Resolved

__all__ = ["ManualUpdate", "NoUpdate", "SolverUpdate", "make_update"]


class _Stateless:
    """An update rule without state of its own: Caffe's snapshot has all."""

    def state(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to take back."""


class NoUpdate(_Stateless):
    """What a frozen net1 does: nothing. Its solver never steps, and so has no rate to speak of."""

    def rate(self) -> float:
        """0, whatever the solver's policy says: after a restart that would say something else."""
        return 0.0

    def apply(self, holder: NetDriver) -> None:
        """Nothing."""


class ManualUpdate(_Stateless):
    """w <- w - lr * lr_mult * diff (7.1): plain gradient descent at a constant rate.

    With `ascend`, w <- w + …: the sign that the thesis flipped for its figure 10.5.

    Momentum, decay and the lr policy of the solver prototxt play no part.

    Args:
        learning_rate: lr.
        lr_mult: Layer name to the multipliers of its parameters; missing ones are 1.
        iter_size: Batches whose diffs have been added up; the update takes their mean.
        ascend: Gradient ascent, w <- w + lr diff.
    """

    def __init__(
        self,
        learning_rate: float,
        lr_mult: dict[str, list[float]],
        iter_size: int = 1,
        ascend: bool = False,
    ) -> None:
        self.sign = -1.0 if ascend else 1.0
        self.iter_size = iter_size
        self.learning_rate = learning_rate
        self.lr_mult = lr_mult

    def rate(self) -> float:
        """The learning rate of the next update."""
        return self.learning_rate

    def apply(self, holder: NetDriver) -> None:
        """Change every parameter once, parameters shared between layers too.

        Args:
            holder: Has the gradients; its parameters are those of the net in training.
        """
        seen = set()
        for layer, blobs in holder.net.params.items():
            multipliers = self.lr_mult.get(layer, [])
            for i, blob in enumerate(blobs):
                data, diff = blob.data, blob.diff
                address = data.ctypes.data
                if address in seen:
                    continue
                seen.add(address)
                multiplier = multipliers[i] if i < len(multipliers) else 1.0
                data -= self.sign * self.learning_rate * multiplier / self.iter_size * diff


class SolverUpdate(_Stateless):
    """Caffe's own: apply_update, with the solver's momentum, weight decay and lr policy.

    Args:
        solver: Caffe's.
        net: Its net.
    """

    def __init__(self, solver: Any, net: NetDriver) -> None:
        self.solver, self.net = solver, net

    def rate(self) -> float:
        """The learning rate of the next update."""
        return float(self.solver.lr)

    def apply(self, holder: NetDriver) -> None:
        """One update by the gradients in `holder`; the solver counts its iterations itself."""
        if holder is not self.net:
            # The solver knows only its own net's.
            self.net.set_parameter_diffs(holder.parameter_diffs())
        self.solver.apply_update()


def make_update(update: cfg.Update, resolved: Resolved, solver: Any, net: NetDriver) -> Any:
    """The rule that `update.rule` names, for this solver and its net.

    Raises:
        ConfigError: The provider's solver cannot be stepped by hand.
    """
    if update.rule == "manual":
        lr_mult = {
            layer.name: [spec.lr_mult for spec in layer.param]
            for layer in resolved.train.layers
            if layer.param
        }
        settings = resolved.solver
        ascend = update.ascend in (True, resolved.name)
        return ManualUpdate(settings.base_lr, lr_mult, settings.iter_size, ascend)
    if not hasattr(solver, "apply_update"):
        raise ConfigError("update.rule: solver needs apply_update (Caffe of June 2018); use manual")
    return SolverUpdate(solver, net)
