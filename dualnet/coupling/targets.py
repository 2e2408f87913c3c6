"""Targets that follow from one forward and backward pass of net2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

import numpy as np

from dualnet.config import Coupling

__all__ = ["NetOfLayers", "Target", "make_target", "natural_weight", "unit"]


class NetOfLayers(Protocol):
    """What a target needs of net2: values, gradients, and another pass through the dual layers."""

    def data(self, blob: str) -> np.ndarray:
        """Live values of a blob."""

    def diff(self, blob: str) -> np.ndarray:
        """Live gradient of a blob."""

    def run(self, layers: Sequence[int]) -> float:
        """Run some layers forward, given by their places, in the net's order."""


class Target(Protocol):
    """One rule."""

    #: Whether `make` wants net2's weights updated first.
    needs_update: bool

    def make(self) -> dict[str, np.ndarray]:
        """The target of each compared blob by its name on the way down, (N, C, H, W) float32.

        They may be views that the next pass overwrites.
        """


class ActivationTarget:
    """y itself."""

    needs_update = False

    def __init__(self, net: NetOfLayers, compared: dict[str, str]) -> None:
        self.net, self.compared = net, compared

    def make(self) -> dict[str, np.ndarray]:
        return {wire: self.net.data(blob) for wire, blob in self.compared.items()}


class UpdatedTarget:
    """y after net2's weight update, recomputed through the dual layers only."""

    needs_update = True

    def __init__(self, net: NetOfLayers, compared: dict[str, str], layers: Sequence[int]) -> None:
        self.net, self.compared, self.layers = net, compared, layers

    def make(self) -> dict[str, np.ndarray]:
        self.net.run(self.layers)
        return {wire: self.net.data(blob) for wire, blob in self.compared.items()}


class GradientTarget:
    """y - gamma g."""

    needs_update = False

    def __init__(self, net: NetOfLayers, compared: dict[str, str], coupling: Coupling) -> None:
        self.net, self.compared, self.coupling = net, compared, coupling

    def make(self) -> dict[str, np.ndarray]:
        return {wire: self._one(blob) for wire, blob in self.compared.items()}

    def _one(self, blob: str) -> np.ndarray:
        y, diff = self.net.data(blob), self.net.diff(blob)
        gamma = self.coupling.gamma * unit(self.coupling, y)
        # diff is dL/dy of the mean loss, so g = N diff.
        return np.asarray(y - np.float32(gamma * len(y)) * diff)


def make_target(
    coupling: Coupling, net: NetOfLayers, compared: dict[str, str], layers: Sequence[int]
) -> Target:
    """The rule that `coupling.target` names: `activation`, `updated` or `gradient`.

    Args:
        coupling: The settings.
        net: net2's net.
        compared: Name on the way down to net2's blob.
        layers: Places of net2's dual layers, in forward order.
    """
    if coupling.target == "activation":
        return ActivationTarget(net, compared)
    if coupling.target == "updated":
        return UpdatedTarget(net, compared, layers)
    return GradientTarget(net, compared, coupling)


def unit(coupling: Coupling, y: np.ndarray) -> float:
    """What gamma counts in: 1, or with loss `relative` the mean squared length of a sample of y."""
    if coupling.loss != "relative":
        return 1.0
    flat = np.asarray(y, np.float64).reshape(-1)
    # Outputs of zero leave nothing to be relative to.
    return float(flat @ flat) / len(y) or 1.0


def natural_weight(coupling: Coupling) -> Optional[float]:
    """Weight under which the loss on a target gives a gradient as long as the back-propagated one.

    None for targets that carry no gradient of known length.
    """
    weights = {"gradient": 1.0 / coupling.gamma, "prox": coupling.rho, "admm": coupling.beta}
    return weights.get(coupling.target)
