"""What the pieces' prototxt must say to be trained as a chain, checked in their text.

Each mistake that would train silently wrong, or end BVLC Caffe's process, is refused here with the
file, both names and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualnet.config import CutEnd
from dualnet.config.targets import TARGETS
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import FEEDS
from dualnet.errors import ConfigError

__all__ = [
    "check_end",
    "check_iter_size",
    "compared_blobs",
    "loss_layer",
]


def check_iter_size(
    solver: Any, path: str, micro_batches: int = 1, targets: Iterable[str] = ()
) -> None:
    """Whether a solver may make an update of several batches.

    Args:
        solver: A SolverParameter.
        path: Where it was read.
        micro_batches: Parts that each batch is taken in.
        targets: The rules at the piece's cuts; none for the single net.

    Raises:
        ConfigError: It may not.
    """
    if solver.iter_size < 1:
        raise ConfigError(f"{path}: iter_size: {solver.iter_size}; 1 or more batches an update")
    for target in targets:
        reason = TARGETS[target].one_batch_an_update
        if solver.iter_size > 1 and reason:
            raise ConfigError(
                f"{path}: iter_size: {solver.iter_size} with coupling.target: {target}, {reason}; "
                "set iter_size: 1, or coupling.target=gradient"
            )
        if micro_batches > 1 and reason:
            raise ConfigError(
                f"train.micro_batches: {micro_batches} with coupling.target: {target}, {reason}; "
                "set train.micro_batches=1, or coupling.target=gradient"
            )


def compared_blobs(end: CutEnd, graph: NetGraph) -> dict[str, str]:
    """What is compared at a cut: the name under which it comes down to this piece's own blob.

    The name is that of the lower piece's input, and of the upper piece's blob where the cut names
    its pairs.
    """
    if not end.coupling.rule.compares:
        return {}
    own = {
        sent_name: blob if end.is_lower else sent_name for blob, sent_name in end.cut.pairs.items()
    }
    if end.cut.compared:
        return own
    return {
        sent_name: str(graph.layer(layer, f"{end.key}.dual").top[0])
        for sent_name, layer in own.items()
    }


def check_end(end: CutEnd, train: NetGraph, test: NetGraph) -> None:
    """Check what a piece's net must have at one of its cuts.

    Args:
        end: The piece's end of the cut.
        train: Its net in phase TRAIN.
        test: And in phase TEST, or TRAIN again where it is not tested.

    Raises:
        ConfigError: The net would train silently wrong, or end BVLC Caffe's process.
    """
    (_check_lower if end.is_lower else _check_upper)(end, train, test)


def _check_lower(end: CutEnd, train: NetGraph, test: NetGraph) -> None:
    """It must make what crosses the cut, and compare its own outputs with inputs."""
    cut = end.cut
    for graph in (train, test):
        for blob, key in _crossing(end):
            graph.require_blob(blob, key)
    if end.uses_dual:
        _check_dual(end, train, list(cut.dual))
    for sent_name, blob in compared_blobs(end, train).items():
        key = f"{end.key}.compared" if cut.compared else f"{end.key}.dual"
        maker = train.require_blob(blob, key)
        if blob not in cut.blobs:  # those are net1's own, with all that works on them
            _check_whole(train, blob, cut.dual)
        feed = train.require_blob(sent_name, key)
        if feed.type not in FEEDS:
            raise ConfigError(
                f"{train.path}: {sent_name} comes from layer {feed.name} of type {feed.type}; "
                f"{end.upper}'s output needs a MemoryData or Input layer of that name"
            )
        if feed.type == "MemoryData" and train.place(feed) != 0:
            raise ConfigError(
                f"{train.path}: MemoryData layer {feed.name} is layer {train.place(feed)}; "
                "pycaffe feeds layer 0 only, so move it before the data layer, or use an Input "
                "layer"
            )
        loss = loss_layer(train, blob, sent_name)
        if train.place(loss) < train.place(maker):
            raise ConfigError(
                f"{train.path}: loss {loss.name} stands before layer {maker.name}; move the loss "
                "after it"
            )
        if end.coupling.rule.alternates and end.coupling.loss == "prototxt":
            _check_euclidean(train, loss)


def _check_upper(end: CutEnd, train: NetGraph, test: NetGraph) -> None:
    """It must take what crosses the cut as input, and keep the compared blobs whole."""
    cut = end.cut
    for graph in (train, test):
        for blob, key in _crossing(end):
            feed = graph.require_blob(blob, key)
            if feed.type not in FEEDS:
                raise ConfigError(
                    f"{graph.path}: {blob} comes from layer {feed.name} of type {feed.type} in "
                    f"phase {graph.phase}; what {end.lower} sends needs a MemoryData or Input layer"
                )
            if feed.type == "MemoryData" and graph.place(feed) != 0:
                raise ConfigError(
                    f"{graph.path}: MemoryData layer {feed.name} is layer "
                    f"{graph.place(feed)} in phase {graph.phase}; pycaffe feeds layer 0 only, "
                    "so move it to the top"
                )
        if end.uses_dual:
            for name in cut.dual.values():
                graph.layer(name, f"{end.key}.dual")
    if end.uses_dual:
        _check_dual(end, train, list(cut.dual.values()))
    for blob in compared_blobs(end, train).values():
        train.require_blob(blob, f"{end.key}.compared" if cut.compared else f"{end.key}.dual")
        _check_whole(train, blob, cut.dual.values())
        if end.coupling.rule.reads_gradients:
            _check_gradient(end, train, blob)


def loss_layer(train: NetGraph, output: str, sent_name: str) -> Any:
    """The lower piece's loss on a pair: the layer that reads both."""
    found: list[Any] = [
        layer for layer in train.layers if output in layer.bottom and sent_name in layer.bottom
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{train.path}: {len(found)} layers read both {output} and {sent_name}; exactly one "
            "loss must compare them"
        )
    return found[0]


def _crossing(end: CutEnd) -> list[tuple[str, str]]:
    """Every blob that is sent up, with the key that names it."""
    blobs = [(blob, f"{end.key}.blobs") for blob in end.cut.blobs]
    return blobs + [(label, f"{end.key}.labels") for label in end.cut.labels]


def _check_dual(end: CutEnd, train: NetGraph, names: list[str]) -> None:
    """The dual layers must stand on the cut, in order."""
    if not names:
        return
    layers, blobs = [train.layer(name, f"{end.key}.dual") for name in names], end.cut.blobs
    on_cut = set(blobs)
    for layer in train.layers:
        # The upper piece splits a blob that is compared itself and read by the dual layers too.
        if layer.type == "Split" and layer.bottom[0] in on_cut:
            on_cut.update(layer.top)
    if not on_cut & set(layers[0].bottom):
        raise ConfigError(
            f"{train.path}: layer {names[0]} does not read {', '.join(blobs)} but "
            f"{', '.join(layers[0].bottom)}; the dual layer must stand on the cut blob"
        )
    in_order = [layer.name for layer in sorted(layers, key=train.place)]
    if names != in_order:
        raise ConfigError(
            f"{train.path}: {end.key}.dual lists {', '.join(names)}, and the layers stand in the "
            f"order {', '.join(in_order)}; list them in forward order"
        )


def _check_whole(train: NetGraph, blob: str, dual: Iterable[str]) -> None:
    """Only dual layers may write a compared blob: a ReLU in place would change what is compared."""
    for writer in train.producers[blob][1:]:
        if writer.name not in dual:
            raise ConfigError(
                f"{train.path}: layer {writer.name} overwrites {blob} in place, and the outputs "
                f"of the dual layers are compared; give {writer.name} a top of its own"
            )


def _check_gradient(end: CutEnd, train: NetGraph, blob: str) -> None:
    """The gradient that is sent must survive the backward pass, which overwrites it in place.

    An in-place ReLU is allowed: it has already masked the gradient that is sent, and the lower
    piece's ReLU applies the same mask again.
    """
    for writer in train.producers[blob][1:]:
        if writer.type != "ReLU" or writer.relu_param.negative_slope:
            raise ConfigError(
                f"{train.path}: layer {writer.name} works on {blob} in place, and on its way back "
                f"overwrites the gradient that is sent to {end.lower}; give {writer.name} a top of "
                "its own"
            )


def _check_euclidean(train: NetGraph, loss: Any) -> None:
    if loss.type != "EuclideanLoss":
        raise ConfigError(
            f"{train.path}: loss {loss.name} is of type {loss.type}, and target admm needs the "
            "augmented Lagrangian; make it EuclideanLoss, or set coupling.loss=euclidean"
        )
