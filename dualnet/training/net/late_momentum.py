"""Momentum for delayed gradients: of all pieces but the last with `schedule: overlapped`.

A gradient that comes S updates late shrinks the range of learning rates at which momentum is
stable, and by much more than without momentum. Take a direction of curvature c, u = w - minimum:

    v[t+1] = m v[t+1-P] - lr c u[t-S]        P = 1: the momentum that everybody has
    u[t+1] = u[t] + v[t+1]

    (z - 1)(z^P - m) z^S + lr c z^P = 0      its characteristic equation

For a small lr c the roots near z^P = m lie at the angles a = 2 pi k / P, and lr c moves each of
them outward by the share (lr c / 2P) sin((2S+1) a/2) / sin(a/2). With P = 2S + 1 the sine is zero
at all of them, as (2S+1) a/2 = k pi: to first order the delay moves no root outward. So

    period     largest stable lr c           m = 0.9:   S = 0    1        2        3
    1          1 - m for S = 1                          3.8      0.100    0.051    0.035
    2S + 1     2 (1 + m) sin(pi / (4S + 2))             3.8      1.90     1.17     0.85

which is (1 + m) times what late gradients leave of plain gradient descent, at the same sum of the
steps that a gradient makes, lr / (1 - m). Each gradient is thus added to the momentum of 2S + 1
updates ago: there are 2S + 1 momenta, in turn.

Caffe's solver has one. It is given gradients d that turn it into the one wanted here,

    v[t] = m v[t-P] + g[t]
    d[t] = v[t] - m v[t-1]          so that  sum of m^k d[t-k] = v[t]

which is exact while the learning rate is constant. Weight decay is not delayed: Caffe adds it to d,
with its own momentum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualnet.config import Config
from dualnet.errors import ConfigError
from dualnet.training.net.driver import NetDriver

__all__ = ["LateMomentum", "is_late", "period_of"]


def period_of(staleness: int) -> int:
    """Updates between a gradient and the one that its momentum is added to."""
    return 2 * staleness + 1


def is_late(config: Config, name: str, solver: Any, source: str) -> bool:
    """Whether a piece's gradients arrive late, so that interleaved momentum is used.

    Caffe's other solver types, Nesterov's among them, stay as they are.

    Args:
        config: The run.
        name: The piece; the one with the loss does not run ahead.
        solver: Its SolverParameter.
        source: Its path, for messages.

    Raises:
        ConfigError: The solver clips gradients; it would clip d instead.
    """
    train = config.train
    if not config.batches_ahead(name) or train.stale_momentum != "interleaved":
        return False
    if config.update.rule != "solver" or solver.type != "SGD" or not solver.momentum:
        return False
    if solver.clip_gradients > 0:
        raise ConfigError(
            f"{source}: clip_gradients: {solver.clip_gradients:g} with schedule overlapped and "
            "interleaved momentum; leave it out, or set train.stale_momentum=solver"
        )
    return True


class LateMomentum:
    """An update rule with momentum whose gradients come late.

    Args:
        inner: Caffe's update, with the same momentum.
        net: The one whose gradients `inner` applies.
        momentum: m.
        staleness: S, 1 or more.
    """

    def __init__(self, inner: Any, net: NetDriver, momentum: float, staleness: int) -> None:
        self.inner, self.net = inner, net
        self.momentum = np.float32(momentum)
        #: The latest 2S + 1 momenta, oldest first, each by the parameter's name `LAYER.INDEX`.
        self.velocities: list[dict[str, np.ndarray]] = [{} for _ in range(period_of(staleness))]

    def rate(self) -> float:
        """The learning rate of the next update."""
        return float(self.inner.rate())

    def apply(self, holder: NetDriver) -> None:
        """One update by the gradients in `holder`."""
        oldest, latest = self.velocities[0], self.velocities[-1]
        new = holder.parameter_diffs()
        for name, values in oldest.items():
            new[name] += self.momentum * values
        self.velocities = [*self.velocities[1:], new]
        self.net.set_parameter_diffs(
            {name: v - self.momentum * latest[name] for name, v in new.items()} if latest else new
        )
        self.inner.apply(self.net)

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to keep beside Caffe's own history."""
        return {
            f"{number}/{name}": values
            for number, velocity in enumerate(self.velocities)
            for name, values in velocity.items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set the momenta to what `state` returned."""
        self.velocities = [{} for _ in self.velocities]
        for key, values in state.items():
            number, _, name = key.partition("/")
            self.velocities[int(number)][name] = values
