"""The gradient-fidelity meter: how a piece's gradient compares with the back-propagated one.

Every `coupling.fidelity_interval` iterations the piece above sends dL/dp too. The piece below
back-propagates it, then its own loss, and logs for its layers before the cut, each and together,

    cosine  <own, true> / |own| |true|        1: the same direction; 0: nothing to do with it
    ratio   |own| / |true|                    1: the same length

L is the labels' loss through conv3p; p, the cut blob, is the last point at which both gradients are
defined. An auxiliary loss of the piece's own adds its part to both. A piece in the middle passes on
what the true gradient has become at its own inputs.
"""

from __future__ import annotations

import numpy as np

from dualnet.cut.upstream import beyond_cut
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["FidelityMeter", "PREFIX", "is_due"]

#: Before the names of cut blobs whose gradients travel beside an answer.
PREFIX = "true_gradient:"

Diffs = dict[str, np.ndarray]


def is_due(interval: int, iteration: int) -> bool:
    """Whether the gradients are compared in an iteration; both pieces at a cut ask."""
    return interval > 0 and iteration % interval == 0


class FidelityMeter:
    """Compares the gradients in the piece below the cut.

    Args:
        nets: Its nets, solver and update rule.
        interval: Iterations between two comparisons (0: none).

    Attributes:
        at_inputs: dL/d(cut blob) of the labels' loss at the cut below this piece, by blob; of the
            batch measured last, {} where none was.
    """

    def __init__(self, nets: Nets, interval: int) -> None:
        self.interval = interval
        #: Layers whose gradients are compared.
        self.layers = nets.learning_before_cut
        end = nets.resolved.above
        self.beyond = beyond_cut(nets.resolved.train, end.cut) if end else []
        self.inputs = nets.resolved.below.cut.blobs if nets.resolved.below else []
        self.at_inputs: Diffs = {}
        self._gradients: Diffs = {}
        self._true: Diffs = {}

    def is_due(self, iteration: int) -> bool:
        """Whether this iteration's answer brings the true gradient."""
        return is_due(self.interval, iteration)

    def take(self, arrays: Diffs) -> Diffs:
        """Store the gradients that came with an answer, and return the answer without them."""
        self._gradients = {
            name[len(PREFIX) :]: values
            for name, values in arrays.items()
            if name.startswith(PREFIX)
        }
        return {name: values for name, values in arrays.items() if not name.startswith(PREFIX)}

    def measure(self, net: NetDriver, is_first: bool) -> None:
        """Back-propagate the true gradient, if it came; parameter diffs are as before after it.

        Args:
            net: Holds the batch.
            is_first: The batch is its iteration's first; else its gradients are added.
        """
        self.at_inputs = {}
        if not self._gradients:
            return
        before = {} if is_first else net.parameter_diffs()
        net.net.clear_param_diffs()
        net.backward_from(self._gradients, self.beyond)
        self.at_inputs = {blob: np.array(net.diff(blob)) for blob in self.inputs}
        found = self._before_cut(net)
        net.net.clear_param_diffs()
        net.set_parameter_diffs(before)
        if not is_first:
            found = {name: self._true[name] + diff for name, diff in found.items()}
        self._true = found

    def compare(self, net: NetDriver) -> dict[str, float]:
        """How the piece's own gradient, which `backward` has just made, compares with it.

        Returns:
            Series for the log, {} where nothing was measured.
        """
        if not self._gradients:
            return {}
        own, true = self._before_cut(net), self._true
        series = dict(zip(("fidelity_cosine", "fidelity_ratio"), _compared(own, true)))
        for layer in self.layers:
            names = [name for name in true if name.rpartition(".")[0] == layer]
            cosine, ratio = _compared({n: own[n] for n in names}, {n: true[n] for n in names})
            series[f"fidelity_cosine_{layer}"], series[f"fidelity_ratio_{layer}"] = cosine, ratio
        return series

    def _before_cut(self, net: NetDriver) -> Diffs:
        diffs = net.parameter_diffs()
        return {name: d for name, d in diffs.items() if name.rpartition(".")[0] in self.layers}


def _compared(own: Diffs, true: Diffs) -> tuple[float, float]:
    """(cosine, ratio); 0 where there is no direction to compare."""
    dot = sum(float(np.vdot(own[n].astype(np.float64), true[n])) for n in true)
    length_1, length_2 = (
        np.sqrt(sum(float(np.vdot(d.astype(np.float64), d)) for d in diffs.values()))
        for diffs in (own, true)
    )
    if not length_1 or not length_2:
        return 0.0, 0.0
    return float(dot / (length_1 * length_2)), float(length_1 / length_2)
