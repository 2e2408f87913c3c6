"""Before the first iteration the halves compare what they have.

Each publishes a description, takes the other's, and both find the same mistakes: a pool2 of the
wrong shape, different batch sizes, a conv3p that is not conv3's twin. Caffe would train on, or die
in the middle of a batch.
"""

from __future__ import annotations

from typing import Any

from dualnet import backend
from dualnet.errors import ManifestMismatch
from dualnet.train.half import Half
from dualnet.train.session import Session

__all__ = ["check", "describe"]


def describe(half: Half, session: Session) -> dict[str, Any]:
    """What a half has that the other must match, JSON-able."""
    cut = half.config.cut
    compared = half.resolved.compared
    nets = {"TRAIN": half.train}
    if session.test_iter:
        nets["TEST"] = half.test
    return {
        "role": half.role,
        "net": half.resolved.net_path,
        "provider": backend.provider,
        "config": half.config.identity(),
        # As configured: one that goes on from where it has converged knows of an earlier end.
        "max_iter": half.resolved.max_iter,
        "test_iter": session.test_iter,
        "test_interval": session.test_interval,
        "test_initialization": session.test_initialization,
        "has_checkpoints": session.snapshot_interval > 0,
        "cut": {phase: _shapes(net, cut.blobs) for phase, net in nets.items()},
        "labels": {
            phase: {blob: shape[:1] for blob, shape in _shapes(net, cut.labels).items()}
            for phase, net in nets.items()
        },
        # What is compared, and net1's inputs of net2's side of it: both have to be x's shape.
        "compared": {wire: _shape(half.train, blob) for wire, blob in compared.items()},
        "targets": {
            wire: _shape(half.train, wire if half.role == "net1" else blob)
            for wire, blob in compared.items()
        },
        "parameters": [
            list(blob.shape)
            for layer in half.resolved.dual
            for blob in half.train.net.params.get(layer, [])
        ],
    }


def check(mine: dict[str, Any], theirs: dict[str, Any], config: Any) -> None:
    """Compare two descriptions.

    Raises:
        ManifestMismatch: They differ; the message lists every difference with both values.
    """
    one, two = (mine, theirs) if mine["role"] == "net1" else (theirs, mine)
    problems: list[str] = []
    half_names = {wire: blob for blob, wire in config.cut.compared.items()}
    if not half_names and config.cut.dual:
        half_names = dict([reversed(list(config.cut.dual.items())[-1])])

    def compare(what: str, value_1: Any, value_2: Any, remedy: str) -> None:
        if value_1 != value_2:
            problems.append(f"{what}: {value_1} in net1, {value_2} in net2; {remedy}")

    if one["config"] != two["config"]:
        problems.append(
            "the halves run different configs; start both with the same CONFIG and --set"
        )
    for key in ("max_iter", "test_iter", "test_interval"):
        compare(key, one[key], two[key], f"make both solvers agree, or set train.{key}")
    compare(
        "test_initialization", one["test_initialization"], two["test_initialization"],
        "make both solvers agree",
    )  # fmt: skip
    compare(
        "has_checkpoints", one["has_checkpoints"], two["has_checkpoints"],
        "give both solvers a snapshot interval or neither, or set train.snapshot",
    )  # fmt: skip
    for phase in sorted(set(one["cut"]) & set(two["cut"])):
        for blob, shape in one["cut"][phase].items():
            compare(
                f"{blob} in phase {phase}", shape, two["cut"][phase].get(blob),
                f"correct the layer that feeds {blob} in {two['net']}",
            )  # fmt: skip
        for blob, shape in one["labels"][phase].items():
            compare(
                f"{blob}s in phase {phase}", shape, two["labels"][phase].get(blob),
                f"correct the batch size in {two['net']}",
            )  # fmt: skip
    for wire, shape in one["compared"].items():
        blob = half_names.get(wire, wire)
        compare(
            f"{blob} and {wire}", shape, two["compared"].get(wire),
            "what is compared must be the same but for its name",
        )  # fmt: skip
        compare(
            f"input {wire} of net1's loss", one["targets"][wire], two["targets"].get(wire),
            f"correct the layer that feeds {wire} in {one['net']}",
        )  # fmt: skip
    names = config.cut.dual.items()
    compare(
        f"parameters of {' and '.join(', '.join(side) for side in zip(*names))}",
        one["parameters"], two["parameters"],
        "the dual layers must be the same but for their names",
    )  # fmt: skip
    if problems:
        raise ManifestMismatch("net1 and net2 do not match: " + "; ".join(problems))


def _shapes(net: Any, blobs: list[str]) -> dict[str, list[int]]:
    return {blob: _shape(net, blob) for blob in blobs}


def _shape(net: Any, blob: str) -> list[int]:
    return [int(size) for size in net.net.blobs[blob].shape]
