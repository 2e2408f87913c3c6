"""A piece's nets in training: its solver, its test net and its update rule."""

from __future__ import annotations

from typing import Any, Callable, Optional

from dualnet.backend import caffe
from dualnet.config import Config
from dualnet.cut.upstream import upstream_layers
from dualnet.errors import ConfigError
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.finetune import start_from
from dualnet.training.net.late_momentum import LateMomentum
from dualnet.training.net.resolve import Resolved
from dualnet.training.net.update import NoUpdate, make_update

__all__ = ["Nets"]


class Nets:
    """One piece's nets.

    Args:
        config: The run.
        resolved: The piece's solver and net, already written where `resolved.dir.solver` says.

    Attributes:
        train: The net in training.
        test: The test net, sharing its weights after `share_weights`.
    """

    def __init__(self, config: Config, resolved: Resolved) -> None:
        self.config = config
        self.resolved = resolved
        self.name = resolved.name
        _use_device(config.piece(self.name).device)
        # Before the solver: fillers draw their numbers when the net is built.
        caffe.set_random_seed(config.seed)
        self.solver = caffe.get_solver(resolved.dir.solver)
        source = resolved.train.path  # what the user wrote, for messages
        self.train = NetDriver(self.solver.net, source)
        _check_names(self.solver.net, source)
        self._test: Optional[NetDriver] = None
        if len(self.solver.test_nets):
            self._test = NetDriver(self.solver.test_nets[0], resolved.test.path)
        self.update_rule = make_update(config.update, resolved, self.solver, self.train)
        if resolved.is_late:
            self.update_rule = LateMomentum(
                self.update_rule,
                self.train,
                resolved.solver.momentum,
                config.batches_ahead(self.name),
            )
        above = resolved.above
        if above is not None and (resolved.is_frozen or above.coupling.target == "frozen"):
            self.update_rule = NoUpdate()

    @property
    def test(self) -> NetDriver:
        """The test net. Raises ConfigError if the solver has none."""
        if self._test is None:
            solver = self.config.piece(self.name).solver
            raise ConfigError(f"{solver}: no test_iter, so there is no test net")
        return self._test

    @property
    def learning_before_cut(self) -> list[str]:
        """Layers with parameters that lead to what crosses the cut above, in the net's order."""
        graph, above = self.resolved.train, self.resolved.above
        below = upstream_layers(graph, above.cut.blobs if above is not None else [])
        names = [str(graph.layers[place].name) for place in below]
        return [name for name in names if name in self.train.net.params]

    def seed(self, number: int) -> None:
        """Seed dropout and its like from (seed, number of the batch): a restart repeats them.

        Call it before a batch's forward pass, and before further ones that must draw the same.
        """
        caffe.set_random_seed((self.config.seed * 1000003 + number) % (2**31))

    def update(self, holder: Optional[NetDriver] = None) -> None:
        """Apply the update rule to the parameter diffs, then clear those of both nets.

        Args:
            holder: The net that has the diffs, default the one in training; it shares that one's
                weights.
        """
        holder = holder or self.train
        self.update_rule.apply(holder)
        for net in {self.train, holder}:
            net.net.clear_param_diffs()

    def gather(self, other: NetDriver) -> None:
        """Add another net's parameter diffs to those of the net in training, and clear them."""
        more = other.parameter_diffs()
        own = self.train.parameter_diffs()
        self.train.set_parameter_diffs({name: diff + more[name] for name, diff in own.items()})
        other.net.clear_param_diffs()

    def share_weights(self) -> None:
        """Let the test net use the weights of the net in training, as Caffe does before a test."""
        self.test.net.share_with(self.train.net)

    def copy_weights(
        self,
        say: Callable[[str], None] = lambda line: None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Start from `train.weights`; see finetune.py.

        Args:
            say: Takes what the log should say.
            warn: Takes warnings.

        Raises:
            ConfigError: A file cannot be read, or does not fit.
        """
        start_from(self.config, self.resolved, self.train.net, say, warn)


def _check_names(net: Any, path: str) -> None:
    """Refuse layers that have weights and share a name: snapshots know weights by layer names."""
    names = [str(name) for name in net._layer_names]
    for name, layer in zip(names, net.layers):
        if len(layer.blobs) and names.count(name) > 1:
            raise ConfigError(
                f"{path}: {names.count(name)} layers named {name!r}, one of them of type "
                f"{str(layer.type)} and with weights, which a snapshot knows by the layer's name; "
                "give one of them another name"
            )


def _use_device(device: str | int) -> None:
    """Choose where nets are computed: pycaffe ignores the solver's solver_mode and device_id."""
    if device == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_device(int(device))
        caffe.set_mode_gpu()
