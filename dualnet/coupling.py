"""What net2 sends back as conv3p: the target that net1 pulls conv3 towards.

Notation, as in the thesis: N samples a batch, p = pool2, x = conv3(p) in net1 and y = conv3p(p) in
net2, both (N, C, H, W) float32; L the mean cross-entropy that net2 computes from y; g = N dL/dy the
gradient per sample, of y's shape.

| target       | value sent                                        |
|--------------|---------------------------------------------------|
| `activation` | y of the forward pass, as in the thesis           |
| `updated`    | y recomputed after net2's weight update           |
| `gradient`   | y - gamma g                                       |

With target `gradient`, Caffe's EuclideanLoss weighted 1/gamma and equal weights in conv3 and conv3p
at the start (tie `start`), net1 gets

    d/dx 1/(2 gamma N) |x - (y - gamma g)|^2 = (x - y)/(gamma N) + dL/dy

and as x = y stays true (both copies get the same gradient), that is the back-propagated gradient:
dual training is single training. gamma cancels, but for rounding: y - gamma g keeps little of g
when gamma g is far below y, and the pull (x - y)/(gamma N) of a small gamma makes the rounding
error of x - y grow when the learning rate exceeds 2 gamma over the largest eigenvalue of p's Gram
matrix. A gamma of 1000 is safe on both sides for the shipped nets.
"""

from __future__ import annotations

from typing import Optional, Protocol

import numpy as np

from dualnet.config import Coupling

__all__ = ["Target", "make_target"]


class NetOfLayers(Protocol):
    """What a target needs of net2: values, gradients, and another pass through the dual layers."""

    def data(self, blob: str) -> np.ndarray:
        """Live values of a blob."""

    def diff(self, blob: str) -> np.ndarray:
        """Live gradient of a blob."""

    def forward(self, first: Optional[str] = None, last: Optional[str] = None) -> float:
        """Run the layers from `first` to `last`."""


class Target(Protocol):
    """One rule."""

    #: Whether `make` wants net2's weights updated first.
    needs_update: bool

    def make(self) -> np.ndarray:
        """The target, (N, C, H, W) float32; may be a view that the next pass overwrites."""


class ActivationTarget:
    """y itself."""

    needs_update = False

    def __init__(self, net: NetOfLayers, blob: str) -> None:
        self.net, self.blob = net, blob

    def make(self) -> np.ndarray:
        return np.asarray(self.net.data(self.blob))


class UpdatedTarget:
    """y after net2's weight update, recomputed through the dual layers only."""

    needs_update = True

    def __init__(self, net: NetOfLayers, blob: str, layers: list[str]) -> None:
        self.net, self.blob, self.layers = net, blob, layers

    def make(self) -> np.ndarray:
        self.net.forward(self.layers[0], self.layers[-1])
        return np.asarray(self.net.data(self.blob))


class GradientTarget:
    """y - gamma g."""

    needs_update = False

    def __init__(self, net: NetOfLayers, blob: str, gamma: float) -> None:
        self.net, self.blob, self.gamma = net, blob, gamma

    def make(self) -> np.ndarray:
        y, diff = self.net.data(self.blob), self.net.diff(self.blob)
        # diff is dL/dy of the mean loss, so g = N diff.
        return np.asarray(y - np.float32(self.gamma * len(y)) * diff)


def make_target(coupling: Coupling, net: NetOfLayers, blob: str, layers: list[str]) -> Target:
    """The rule that `coupling.target` names.

    Args:
        coupling: The settings.
        net: net2's net.
        blob: The output of the last dual layer.
        layers: net2's dual layers in forward order.
    """
    if coupling.target == "activation":
        return ActivationTarget(net, blob)
    if coupling.target == "updated":
        return UpdatedTarget(net, blob, layers)
    return GradientTarget(net, blob, coupling.gamma)
