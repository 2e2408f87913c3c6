"""Where the activations of batches are that wait for their answer.

A piece that runs ahead of its answers (schedule.py) needs a batch's own activations for the
backward pass when its answer comes. They are either kept, in further copies of the net that share
its weights (the memory of as many batches, no more work), or computed again from the kept inputs
(one more forward pass, with the weights of now).
"""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from dualnet.backend import caffe
from dualnet.cut.graph import solver_states
from dualnet.cut.upstream import data_layers, layers_without_inputs
from dualnet.training.loop.messages import Blobs
from dualnet.training.net.driver import NetDriver, net_state
from dualnet.training.net.nets import Nets

__all__ = ["ActivationStore", "make_activation_store"]


class ActivationStore(Protocol):
    """Which net holds the activations of which batch; a batch is its number in the training."""

    def load(
        self, number: int, last: Optional[int], arrays: Optional[Blobs]
    ) -> tuple[NetDriver, float]:
        """Run the next batch forward, up to a layer.

        Args:
            number: Of the batch.
            last: The last layer to run; None: all.
            arrays: What came up from the piece below; None: the net reads its own data.

        Returns:
            The net that holds the batch, at least until the next `load` or `recall`, and the
            weighted loss of the layers that ran.
        """

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        """The net with a batch's activations up to layer `last` (None: all layers), for backward.

        Called once for each batch, in the order of `load`.
        """


class NoLookahead:
    """Each batch is answered before the next goes up: the training net holds it until then."""

    def __init__(self, nets: Nets) -> None:
        self.nets, self.net = nets, nets.train
        self.sources = layers_without_inputs(nets.resolved.train)
        self.data_layers = data_layers(nets.resolved.train)
        layers = nets.resolved.train.layers
        self.tops = [str(top) for place in self.data_layers for top in layers[place].top]

    def load(
        self, number: int, last: Optional[int], arrays: Optional[Blobs]
    ) -> tuple[NetDriver, float]:
        """See `ActivationStore.load`."""
        if arrays is not None:
            self.net.feed(arrays)
        return self.net, self.net.forward(last=last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        """See `ActivationStore.recall`."""
        return self.net

    def read(self) -> Blobs:
        """Copies of the next batch, from the net whose data layers are in use."""
        self.nets.train.run(self.data_layers)
        return self.held()

    def held(self) -> Blobs:
        """Copies of the batch that this net holds."""
        return {top: self.nets.train.data(top).copy() for top in self.tops}


class KeepActivations(NoLookahead):
    """A net for each batch that may be under way; they share weights, not activations.

    Batch n is in net n modulo their number, from `load` to its update. Each batch ahead costs the
    memory of one more net's blobs and gradients.

    Args:
        nets: The piece's nets.
        ahead: Batches that may be up while the answer to an earlier one is awaited.
    """

    def __init__(self, nets: Nets, ahead: int) -> None:
        super().__init__(nets)
        self.copies = [nets.train, *(_twin(nets) for _ in range(ahead))]

    def load(
        self, number: int, last: Optional[int], arrays: Optional[Blobs]
    ) -> tuple[NetDriver, float]:
        """See `ActivationStore.load`."""
        net = self.copies[number % len(self.copies)]
        if net is not self.nets.train:
            net.net.share_with(self.nets.train.net)
        if arrays is not None:
            net.feed(arrays)
            return net, net.forward(last=last)
        if net is self.nets.train:
            self.nets.train.run(self.data_layers)
        else:
            # Only the first net reads data, which keeps the order of the batches. Its own images
            # may belong to a batch whose answer is pending: save them, and put them back.
            held = self.held()
            net.put(self.read())
            self.nets.train.put(held)
        return net, net.forward_without(self.sources, last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        """See `ActivationStore.recall`."""
        return self.copies[number % len(self.copies)]


class RecomputeActivations(NoLookahead):
    """The inputs are kept, and the forward pass runs again when the answer has come.

    The one training net holds the batch of the latest `load` or `recall`. Each batch ahead costs
    the memory of its inputs, and one more forward pass, with the weights of that time.
    """

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        #: By number: the batch, and the method that puts it into the net again.
        self.batches: dict[int, tuple[Blobs, Callable[[Blobs], None]]] = {}

    def load(
        self, number: int, last: Optional[int], arrays: Optional[Blobs]
    ) -> tuple[NetDriver, float]:
        """See `ActivationStore.load`."""
        if arrays is None:
            self.batches[number] = self.read(), self.net.put
            return self.net, self.net.forward_without(self.sources, last)
        self.batches[number] = arrays, self.net.feed
        self.net.feed(arrays)
        return self.net, self.net.forward(last=last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        """See `ActivationStore.recall`."""
        batch, put_in = self.batches.pop(number)
        put_in(batch)
        self.nets.seed(number)  # the same dropout
        self.net.forward_without(self.sources, last)
        return self.net


def make_activation_store(nets: Nets, ahead: int) -> ActivationStore:
    """The store for a schedule, and for `train.stale_activations`.

    Args:
        nets: The piece's nets.
        ahead: Batches that may be up while the answer to an earlier one is awaited.
    """
    if not ahead:
        return NoLookahead(nets)
    if nets.config.train.stale_activations == "keep":
        return KeepActivations(nets, ahead)
    return RecomputeActivations(nets)


def _twin(nets: Nets) -> NetDriver:
    """Another net of the same prototxt in phase TRAIN, sharing the training net's weights."""
    path = nets.resolved.dir.net
    state = solver_states(nets.resolved.solver).get("TRAIN")
    twin = caffe.Net(path, caffe.TRAIN, **net_state(state))
    twin.share_with(nets.train.net)
    return NetDriver(twin, path)
