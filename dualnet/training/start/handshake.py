"""Before the first iteration the pieces at a link compare what they have.

Each publishes a description, takes the other's, and both find the same mistakes: a pool2 of the
wrong shape, different batch sizes, a conv3p that is not conv3's twin. Caffe would train on, or die
in the middle of a batch.

Where the lower piece's batches or images may change their size, the sizes that both nets were built
with say nothing: Input layers take the shape of each message. What is compared then is the number
of axes and the channels.
"""

from __future__ import annotations

from typing import Any

from dualnet import backend
from dualnet.config import CutEnd, changed_keys, fixed_values
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import may_change_size
from dualnet.errors import ManifestMismatch
from dualnet.training.loop.session import Session
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.nets import Nets

__all__ = ["check", "describe"]


def describe(nets: Nets, session: Session, end: CutEnd) -> dict[str, Any]:
    """What a piece has at a link that its neighbour must match.

    Args:
        nets: The piece's nets.
        session: Its tests and checkpoints.
        end: Its end of the cut.

    Returns:
        A dictionary for JSON: `piece`, `net` (the prototxt's path) and `provider`, str; `max_iter`,
        `iter_size`, `test_iter` and `test_interval`, int; `test_initialization`, `has_checkpoints`
        and `sizes_change`, bool; `fixed`, names of blobs of a fixed size; `config`, keys to values;
        `cut` and `labels`, phase to blob to shape (of labels the batch size alone); `compared` and
        `targets`, name on the way down to shape; `parameters`, shapes of those of the dual layers.
    """
    cut, resolved = end.cut, nets.resolved
    compared = resolved.compared_above if end.is_lower else resolved.compared_below
    phases, graphs = {"TRAIN": nets.train}, [resolved.train]
    if session.test_iter:
        phases["TEST"] = nets.test
        graphs.append(resolved.test)
    return {
        "piece": nets.name,
        "sizes_change": end.is_lower
        and any(may_change_size(graph, [*cut.blobs, *cut.labels]) for graph in graphs),
        "fixed": _fixed(graphs),
        "net": resolved.train.path,
        "provider": backend.provider,
        "config": fixed_values(nets.config, is_dual=True),
        # As configured: that of the session is smaller once the training has converged.
        "max_iter": resolved.max_iter,
        "iter_size": resolved.iter_size,
        "test_iter": session.test_iter,
        "test_interval": session.test_interval,
        "test_initialization": session.test_initialization,
        "has_checkpoints": session.snapshot_interval > 0,
        "cut": {phase: _shapes(net, cut.blobs) for phase, net in phases.items()},
        "labels": {
            phase: {blob: shape[:1] for blob, shape in _shapes(net, cut.labels).items()}
            for phase, net in phases.items()
        },
        # What is compared, and what its loss compares it with. In the lower piece that is an input,
        # which the upper piece's output fills; both must have x's shape.
        "compared": {name: _shape(nets.train, blob) for name, blob in compared.items()},
        "targets": {
            name: _shape(nets.train, name if end.is_lower else blob)
            for name, blob in compared.items()
        },
        "parameters": [
            list(blob.shape) for layer in end.dual for blob in nets.train.net.params.get(layer, [])
        ],
    }


def check(mine: dict[str, Any], theirs: dict[str, Any], end: CutEnd) -> None:
    """Compare two descriptions.

    Args:
        mine: Of the piece whose end it is.
        theirs: Of its neighbour.
        end: Its end of the cut.

    Raises:
        ManifestMismatch: They differ; the message lists every difference with both values.
    """
    one, two = (mine, theirs) if end.is_lower else (theirs, mine)
    problems: list[str] = []
    sizes_change = one["sizes_change"]
    lower_names = {sent_name: blob for blob, sent_name in end.cut.pairs.items()}

    def compare(what: str, value_1: Any, value_2: Any, remedy: str) -> None:
        if value_1 != value_2:
            problems.append(f"{what}: {value_1} in {end.lower}, {value_2} in {end.upper}; {remedy}")

    def compare_shapes(what: str, taker: Any, blob: str, one: Any, two: Any, remedy: str) -> None:
        """`taker` has the layer that is fed with the other's `blob`."""
        is_free = sizes_change and blob not in taker["fixed"]
        if not (is_free and one and two and _channels(one) == _channels(two)):
            compare(what, one, two, remedy)

    for key, value_1, value_2 in changed_keys(one["config"], two["config"]):
        compare(key, value_1, value_2, "start both with the same CONFIG and --set")
    for key in ("max_iter", "test_iter", "test_interval"):
        compare(key, one[key], two[key], f"make both solvers agree, or set train.{key}")
    for key in ("iter_size", "test_initialization"):
        compare(key, one[key], two[key], "make both solvers agree")
    compare(
        "has_checkpoints", one["has_checkpoints"], two["has_checkpoints"],
        "give both solvers a snapshot interval or neither, or set train.snapshot",
    )  # fmt: skip
    for phase in sorted(set(one["cut"]) & set(two["cut"])):
        for blob, shape in one["cut"][phase].items():
            compare_shapes(
                f"{blob} in phase {phase}", two, blob, shape, two["cut"][phase].get(blob),
                f"correct the layer that feeds {blob} in {two['net']}",
            )  # fmt: skip
        for blob, shape in one["labels"][phase].items():
            compare_shapes(
                f"{blob}s in phase {phase}", two, blob, shape, two["labels"][phase].get(blob),
                f"correct the batch size in {two['net']}",
            )  # fmt: skip
    for sent_name, shape in one["compared"].items():
        blob = lower_names.get(sent_name, sent_name)
        compare_shapes(
            f"{blob} and {sent_name}", two, sent_name, shape, two["compared"].get(sent_name),
            "what is compared must be the same but for its name",
        )  # fmt: skip
        compare_shapes(
            f"input {sent_name} of {end.lower}'s loss",
            one, sent_name, one["targets"][sent_name], two["targets"].get(sent_name),
            f"correct the layer that feeds {sent_name} in {one['net']}",
        )  # fmt: skip
    names = end.cut.dual.items()
    compare(
        f"parameters of {' and '.join(', '.join(side) for side in zip(*names))}",
        one["parameters"], two["parameters"],
        "the dual layers must be the same but for their names",
    )  # fmt: skip
    if problems:
        several = f" in {len(problems)} ways:\n  " if len(problems) > 1 else ": "
        raise ManifestMismatch(
            f"{end.lower} and {end.upper} do not match{several}" + "\n  ".join(problems)
        )


def _shapes(net: NetDriver, blobs: list[str]) -> dict[str, list[int]]:
    return {blob: _shape(net, blob) for blob in blobs}


def _shape(net: NetDriver, blob: str) -> list[int]:
    """As it was built: a piece that continues has passed over other batches since."""
    return net.built_shapes[blob]


def _fixed(graphs: list[NetGraph]) -> list[str]:
    """Blobs of layers that can be filled but with one size of batch."""
    layers = [layer for graph in graphs for layer in graph.layers if layer.type == "MemoryData"]
    return sorted({str(top) for layer in layers for top in layer.top})


def _channels(shape: list[int]) -> tuple[int, list[int]]:
    """What no batch changes: the number of axes, and the channels."""
    return len(shape), shape[1:2]
