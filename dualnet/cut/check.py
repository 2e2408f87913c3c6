"""What net1's and net2's prototxt must say to be trained as two halves, checked in their text.

Each mistake that would train silently wrong, or end BVLC Caffe's process, is refused here with the
file, both names and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from dualnet.config import Config
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import FEEDS
from dualnet.errors import ConfigError

__all__ = [
    "check_iter_size",
    "check_net1",
    "check_net2",
    "compared_blobs",
    "loss_layer",
    "needs_pairs",
    "uses_dual",
]


#: Targets that need an update after each batch, and why.
_ONE_BATCH_AN_UPDATE = {
    "updated": "which answers each batch with the weights after its update",
    "admm": "which updates net1 at each alternation on a batch",
}


def check_iter_size(solver: Any, path: str, target: Optional[str] = None) -> None:
    """Whether a solver may make an update of several batches.

    Args:
        solver: A SolverParameter.
        path: Where it was read.
        target: Of the coupling; None for the single net.

    Raises:
        ConfigError: It may not.
    """
    if solver.iter_size < 1:
        raise ConfigError(f"{path}: iter_size: {solver.iter_size}; 1 or more batches an update")
    if solver.iter_size > 1 and target in _ONE_BATCH_AN_UPDATE:
        raise ConfigError(
            f"{path}: iter_size: {solver.iter_size} with coupling.target: {target}, "
            f"{_ONE_BATCH_AN_UPDATE[target]}; set iter_size: 1, or coupling.target=gradient"
        )


def needs_pairs(config: Config) -> bool:
    """Whether net1 compares anything with what comes down (see `cut.compared`)."""
    return config.coupling.target not in ("backprop", "frozen")


def uses_dual(config: Config) -> bool:
    """Whether the dual layers play a part: they are compared, or begin with equal weights."""
    return needs_pairs(config) or config.coupling.tie == "start"


def compared_blobs(config: Config, role: str, graph: NetGraph) -> dict[str, str]:
    """What is compared: the name on the way down, which is net1's input, to this net's own blob."""
    if role == "single" or not needs_pairs(config):
        return {}
    own = {wire: lower if role == "net1" else wire for lower, wire in config.cut.pairs.items()}
    if config.cut.compared:
        return own
    return {wire: str(graph.layer(name, "cut.dual").top[0]) for wire, name in own.items()}


def check_net1(config: Config, train: NetGraph, test: NetGraph) -> None:
    """net1 must make what crosses the cut, and compare its own outputs with inputs."""
    cut = config.cut
    for graph in (train, test):
        for blob, key in _crossing(config):
            graph.require_blob(blob, key)
    if uses_dual(config):
        _check_dual(train, list(cut.dual), cut.blobs)
    for wire, blob in compared_blobs(config, "net1", train).items():
        key = "cut.compared" if cut.compared else "cut.dual"
        maker = train.require_blob(blob, key)
        if blob not in cut.blobs:  # those are net1's own, with all that works on them
            _check_whole(train, blob, cut.dual)
        feed = train.require_blob(wire, key)
        if feed.type not in FEEDS:
            raise ConfigError(
                f"{train.path}: {wire} comes from layer {feed.name} of type {feed.type}; net2's "
                "output needs a MemoryData or Input layer of that name"
            )
        if feed.type == "MemoryData" and train.place(feed) != 0:
            raise ConfigError(
                f"{train.path}: MemoryData layer {feed.name} is layer {train.place(feed)}; "
                "pycaffe feeds layer 0 only, so move it before the data layer, or use an Input "
                "layer"
            )
        loss = loss_layer(train, blob, wire)
        if train.place(loss) < train.place(maker):
            raise ConfigError(
                f"{train.path}: loss {loss.name} stands before layer {maker.name}; move it below"
            )
        if config.coupling.target == "admm" and config.coupling.loss == "prototxt":
            _check_euclidean(train, loss)


def check_net2(config: Config, train: NetGraph, test: NetGraph) -> None:
    """net2 must take what crosses the cut as input, and keep the compared blobs whole."""
    cut = config.cut
    for graph in (train, test):
        for blob, key in _crossing(config):
            feed = graph.require_blob(blob, key)
            if feed.type not in FEEDS:
                raise ConfigError(
                    f"{graph.path}: {blob} comes from layer {feed.name} of type {feed.type} in "
                    f"phase {graph.phase}; what net1 sends needs a MemoryData or Input layer"
                )
            if feed.type == "MemoryData" and graph.place(feed) != 0:
                raise ConfigError(
                    f"{graph.path}: MemoryData layer {feed.name} is layer "
                    f"{graph.place(feed)} in phase {graph.phase}; pycaffe feeds layer 0 only, "
                    "so move it to the top"
                )
        if uses_dual(config):
            for name in cut.dual.values():
                graph.layer(name, "cut.dual")
    if uses_dual(config):
        _check_dual(train, list(cut.dual.values()), cut.blobs)
    for blob in compared_blobs(config, "net2", train).values():
        train.require_blob(blob, "cut.compared" if cut.compared else "cut.dual")
        _check_whole(train, blob, cut.dual.values())
        if config.coupling.target not in ("activation", "updated"):
            _check_gradient(train, blob)


def loss_layer(train: NetGraph, output: str, partner: str) -> Any:
    """net1's loss on a pair: the layer that reads both."""
    found: list[Any] = [
        layer for layer in train.layers if output in layer.bottom and partner in layer.bottom
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{train.path}: {len(found)} layers read both {output} and {partner}; exactly one loss "
            "must compare them"
        )
    return found[0]


def _crossing(config: Config) -> list[tuple[str, str]]:
    """Every blob that is sent up, with the key that names it."""
    cut = config.cut
    return [(blob, "cut.blobs") for blob in cut.blobs] + [(b, "cut.labels") for b in cut.labels]


def _check_dual(train: NetGraph, names: list[str], blobs: list[str]) -> None:
    """The dual layers must stand on the cut, in order."""
    if not names:
        return
    layers = [train.layer(name, "cut.dual") for name in names]
    below = set(blobs)
    for layer in train.layers:
        # net2 splits a blob that is compared itself and read by the dual layers as well.
        if layer.type == "Split" and layer.bottom[0] in below:
            below.update(layer.top)
    if not below & set(layers[0].bottom):
        raise ConfigError(
            f"{train.path}: layer {names[0]} does not read {', '.join(blobs)} but "
            f"{', '.join(layers[0].bottom)}; the dual layer must stand on the cut blob"
        )
    in_order = [layer.name for layer in sorted(layers, key=train.place)]
    if names != in_order:
        raise ConfigError(
            f"{train.path}: cut.dual lists {', '.join(names)}, and the layers stand in the order "
            f"{', '.join(in_order)}; list them in forward order"
        )


def _check_whole(train: NetGraph, blob: str, dual: Iterable[str]) -> None:
    """Only dual layers may write a compared blob: a ReLU in place would change what is compared."""
    for writer in train.producers[blob][1:]:
        if writer.name not in dual:
            raise ConfigError(
                f"{train.path}: layer {writer.name} overwrites {blob} in place, and the outputs "
                f"of the dual layers are compared; give {writer.name} a top of its own"
            )


def _check_gradient(train: NetGraph, blob: str) -> None:
    """The gradient that is sent must survive the backward pass, which overwrites it in place.

    An in-place ReLU is allowed: it has already masked the gradient that is sent, and net1's ReLU
    applies the same mask again.
    """
    for writer in train.producers[blob][1:]:
        if writer.type != "ReLU" or writer.relu_param.negative_slope:
            raise ConfigError(
                f"{train.path}: layer {writer.name} works on {blob} in place, and on its way back "
                f"overwrites the gradient that is sent to net1; give {writer.name} a top of its own"
            )


def _check_euclidean(train: NetGraph, loss: Any) -> None:
    if loss.type != "EuclideanLoss":
        raise ConfigError(
            f"{train.path}: loss {loss.name} is of type {loss.type}, and target admm needs the "
            "augmented Lagrangian; make it EuclideanLoss, or set coupling.loss=euclidean"
        )
