"""Targets that follow from one forward and backward pass of the piece above the cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

import numpy as np

from dualnet.config import Coupling

__all__ = ["NetOfLayers", "TargetMaker", "default_loss_weight", "make_target", "unit"]


class NetOfLayers(Protocol):
    """What a target needs of the upper piece's net."""

    def data(self, blob: str) -> np.ndarray:
        """Live values of a blob."""

    def diff(self, blob: str) -> np.ndarray:
        """Live gradient of a blob."""

    def run(self, layers: Sequence[int]) -> float:
        """Run some layers forward, given by their places, in the net's order."""


class TargetMaker(Protocol):
    """Computes the targets z that the upper piece sends for a batch."""

    def make(self, net: NetOfLayers) -> dict[str, np.ndarray]:
        """The target of each compared blob by its name on the way down, (N, C, H, W) float32.

        Those of `gradient` are new arrays. Those of `activation` and `updated` are views of blobs,
        which the next pass overwrites: the caller sends or copies them before.

        Args:
            net: Has been run forward and backward with the batch; with target `updated` its weights
                are those after the update.
        """


class ActivationTarget:
    """y itself."""

    def __init__(self, compared: dict[str, str]) -> None:
        self.compared = compared

    def make(self, net: NetOfLayers) -> dict[str, np.ndarray]:
        return {name: net.data(blob) for name, blob in self.compared.items()}


class UpdatedTarget:
    """y after the weight update, recomputed through the dual layers only."""

    def __init__(self, compared: dict[str, str], layers: Sequence[int]) -> None:
        self.compared, self.layers = compared, layers

    def make(self, net: NetOfLayers) -> dict[str, np.ndarray]:
        net.run(self.layers)
        return {name: net.data(blob) for name, blob in self.compared.items()}


class GradientTarget:
    """y - gamma g."""

    def __init__(self, compared: dict[str, str], coupling: Coupling) -> None:
        self.compared, self.coupling = compared, coupling

    def make(self, net: NetOfLayers) -> dict[str, np.ndarray]:
        return {name: self._one(net, blob) for name, blob in self.compared.items()}

    def _one(self, net: NetOfLayers, blob: str) -> np.ndarray:
        y, diff = net.data(blob), net.diff(blob)
        gamma = self.coupling.gamma * unit(self.coupling, y)
        # diff is dL/dy of the mean loss, so g = N diff.
        return np.asarray(y - np.float32(gamma * len(y)) * diff)


def make_target(coupling: Coupling, compared: dict[str, str], layers: Sequence[int]) -> TargetMaker:
    """The rule that `coupling.target` names: `activation`, `updated` or `gradient`.

    Args:
        coupling: The settings.
        compared: Name on the way down to the upper piece's blob.
        layers: Places of its dual layers, in forward order.
    """
    if coupling.target == "activation":
        return ActivationTarget(compared)
    if coupling.target == "updated":
        return UpdatedTarget(compared, layers)
    return GradientTarget(compared, coupling)


def unit(coupling: Coupling, y: np.ndarray) -> float:
    """The scale of gamma, and of 1/rho: 1, or with loss `relative` the mean of |y_n|^2.

    That is over the samples y_n of the batch, (N, C, H, W); 1 if y is zero.
    """
    if coupling.loss != "relative":
        return 1.0
    flat = np.asarray(y, np.float64).reshape(-1)
    # y is zero: there is no scale.
    return float(flat @ flat) / len(y) or 1.0


def default_loss_weight(coupling: Coupling) -> Optional[float]:
    """The loss weight that gives the lower piece's gradient the scale of the back-propagated one.

    1/gamma, rho or beta; None for targets that carry no gradient of known length.
    """
    weights = {"gradient": 1.0 / coupling.gamma, "prox": coupling.rho, "admm": coupling.beta}
    return weights.get(coupling.target)
