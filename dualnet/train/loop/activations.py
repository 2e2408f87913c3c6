"""net1 runs ahead: batches whose activations wait for net2's answer (`train.schedule: overlapped`).

With staleness S a batch's answer is applied S updates after the batch went up. What the backward
pass then needs, the batch's own activations, is either kept, in S further copies of net1 that share
its weights (the memory of S + 1 batches, no more work), or computed again from the kept images (one
more forward pass, with the weights of now).
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from dualnet.backend import caffe
from dualnet.cut.graph import solver_states
from dualnet.cut.upstream import data_layers, sources
from dualnet.train.net.driver import NetDriver, net_state
from dualnet.train.net.nets import Half

__all__ = ["make_memory"]


class Present:
    """Nothing is kept: each batch is answered before the next is read (S = 0)."""

    def __init__(self, half: Half) -> None:
        self.half, self.net = half, half.train
        self.sources = sources(half.resolved.train)
        self.data_layers = data_layers(half.resolved.train)
        layers = half.resolved.train.layers
        self.tops = [str(top) for place in self.data_layers for top in layers[place].top]

    def load(self, number: int, last: int) -> tuple[NetDriver, float]:
        """Read the next batch and run it up to a layer.

        Returns:
            The net that holds it, and the loss of the layers that were run.
        """
        return self.net, self.net.forward(last=last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        """The net that holds a batch's activations up to layer `last`."""
        return self.net

    def read(self) -> dict[str, np.ndarray]:
        """Copies of the next batch, from the net whose data layers are in use."""
        self.half.train.run(self.data_layers)
        return self.batch()

    def batch(self) -> dict[str, np.ndarray]:
        """Copies of the batch that stands in that net."""
        return {top: self.half.train.data(top).copy() for top in self.tops}


class Kept(Present):
    """One net for each batch that may be under way; all share weights, each has its activations."""

    def __init__(self, half: Half, staleness: int) -> None:
        super().__init__(half)
        self.nets = [half.train, *(_twin(half) for _ in range(staleness))]

    def load(self, number: int, last: int) -> tuple[NetDriver, float]:
        net = self.nets[number % len(self.nets)]
        if net is self.half.train:
            self.half.train.run(self.data_layers)
        else:
            # Only the first net's data layers read, so that batches come in their order; it may
            # still need the images that it holds.
            held = self.batch()
            net.put(self.read())
            self.half.train.put(held)
            net.net.share_with(self.half.train.net)
        return net, net.forward_without(self.sources, last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        return self.nets[number % len(self.nets)]


class Recomputed(Present):
    """The images are kept, and run again when the answer has come."""

    def __init__(self, half: Half) -> None:
        super().__init__(half)
        self.batches: dict[int, dict[str, np.ndarray]] = {}

    def load(self, number: int, last: int) -> tuple[NetDriver, float]:
        self.batches[number] = self.read()
        return self.net, self.net.forward_without(self.sources, last)

    def recall(self, number: int, last: Optional[int]) -> NetDriver:
        self.net.put(self.batches.pop(number))
        self.half.seed(number)  # the same dropout
        self.net.forward_without(self.sources, last)
        return self.net


def make_memory(half: Half) -> Any:
    """What `train.schedule`, `train.staleness` and `train.stale_activations` ask for."""
    train = half.config.train
    if not train.batches_ahead:
        return Present(half)
    return (
        Kept(half, train.batches_ahead * half.resolved.iter_size)
        if train.stale_activations == "keep"
        else Recomputed(half)
    )


def _twin(half: Half) -> NetDriver:
    path = half.resolved.dir.net
    state = solver_states(half.resolved.solver).get("TRAIN")
    twin = caffe.Net(path, caffe.TRAIN, **net_state(state))
    twin.share_with(half.train.net)
    return NetDriver(twin, path)
