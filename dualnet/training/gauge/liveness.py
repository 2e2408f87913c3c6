"""Detects that a piece does not learn, as the thesis's net1 did not in three ways (its sections):

- frozen: its weights before the cut do not change (a Python loss without loss_weight, 10.4);
- collapse: its outputs shrink to zero (the Euclidean loss, 10.3);
- ascent: its updates increase its loss (the flipped sign, 10.6).

A fourth, a loss that is NaN or infinite, is `train.stop_on_nan`; a fifth, a target made for other
activations, cannot happen: every message names its iteration, and the exchange refuses another one.
"""

from __future__ import annotations

import numpy as np

from dualnet.config import Liveness
from dualnet.errors import TrainingFailed
from dualnet.report.log import CaffeLog
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["LivenessCheck"]

#: Consecutive checks with a positive inner product of update and gradient before `ascent` is
#: reported; momentum can make a single update increase the loss.
_CLIMBS = 3


class LivenessCheck:
    """Checks a piece before and after its updates, every `liveness.interval` iterations.

    Args:
        nets: Those of a piece that has another above it.
        log: Gets the warnings, one of each kind.
    """

    def __init__(self, nets: Nets, log: CaffeLog) -> None:
        self.settings: Liveness = nets.config.liveness
        self.net, self.log, self.name = nets.train, log, nets.name
        self.outputs = list(nets.resolved.compared_above.values())
        self.layers = nets.learning_before_cut
        self._weights: dict[str, np.ndarray] = {}
        self._diffs: dict[str, np.ndarray] = {}
        self._seen: dict[str, np.ndarray] = {}
        self._largest = 0.0
        self._climbs = 0
        self._reported: set[str] = set()

    def is_due(self, iteration: int) -> bool:
        """Whether this iteration is checked."""
        return self.settings.interval > 0 and iteration % self.settings.interval == 0

    def before_update(self, net: NetDriver, holder: NetDriver, iteration: int) -> None:
        """Record weights, the outputs in `net` and the gradients in `holder`."""
        if not self.is_due(iteration):
            return
        self._weights = self._copy()
        self._diffs = {
            name: diff for name, diff in holder.parameter_diffs().items() if name in self._weights
        }
        length = sum(net.rms_norm(blob) for blob in self.outputs)
        self._largest = max(self._largest, length)
        share = length / self._largest if self._largest else 1.0
        if share < self.settings.collapse_share:
            self._find(
                "collapse", iteration,
                f"the outputs that {self.name} compares have shrunk to {share:.2g} of their "
                f"largest length: {self.name} lowers its loss by shrinking its outputs; use "
                "coupling.target=gradient",
            )  # fmt: skip

    def after_update(self, iteration: int) -> None:
        """Compare them with the weights after the update."""
        if not self.is_due(iteration):
            return
        now = self._copy()
        if self._seen and all(np.array_equal(now[name], self._seen[name]) for name in now):
            self._find(
                "frozen", iteration,
                f"{self.name}'s weights have not changed for {self.settings.interval} iterations: "
                f"nothing reaches them; give its loss a loss_weight, and {self.name} a "
                "learning rate",
            )  # fmt: skip
        rise = sum(float(np.vdot(now[n] - self._weights[n], self._diffs[n])) for n in now)
        self._climbs = self._climbs + 1 if rise > 0 else 0
        if self._climbs == _CLIMBS:
            self._find(
                "ascent", iteration,
                f"{self.name}'s last {_CLIMBS} checked updates pointed uphill; check the signs of "
                "loss_weight, learning rate and update.ascend",
            )  # fmt: skip
        self._seen, self._weights, self._diffs = now, {}, {}

    def _copy(self) -> dict[str, np.ndarray]:
        weights = self.net.parameters(self.layers)
        return {name: np.array(values) for name, values in weights.items()}

    def _find(self, kind: str, iteration: int, message: str) -> None:
        action = getattr(self.settings, kind)
        if action == "stop":
            raise TrainingFailed(
                f"{self.name}: at iteration {iteration} {message}; or set liveness.{kind}=warn"
            )
        if action == "warn" and kind not in self._reported:
            self._reported.add(kind)
            self.log.warning(f"At iteration {iteration} {message}")
