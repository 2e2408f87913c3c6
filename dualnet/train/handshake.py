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
    output = half.resolved.output_blob
    target = list(cut.dual.values())[-1]
    nets = {"TRAIN": half.train}
    if session.test_iter:
        nets["TEST"] = half.test
    return {
        "role": half.role,
        "net": half.resolved.net_path,
        "provider": backend.provider,
        "config": half.config.identity(),
        "max_iter": session.max_iter,
        "test_iter": session.test_iter,
        "test_interval": session.test_interval,
        "test_initialization": session.test_initialization,
        "has_checkpoints": session.snapshot_interval > 0,
        "cut": {phase: _shape(net, cut.blob) for phase, net in nets.items()},
        "labels": {phase: _shape(net, cut.label)[:1] for phase, net in nets.items()},
        # net1's input of net2's output, and that output: both have to be x's shape.
        "output": _shape(half.train, output),
        "target": _shape(half.train, target if half.role == "net1" else output),
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
    dual_1, dual_2 = list(config.cut.dual)[-1], list(config.cut.dual.values())[-1]
    problems: list[str] = []

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
        compare(
            f"{config.cut.blob} in phase {phase}", one["cut"][phase], two["cut"][phase],
            f"correct the layer that feeds {config.cut.blob} in {two['net']}",
        )  # fmt: skip
        compare(
            f"labels in phase {phase}", one["labels"][phase], two["labels"][phase],
            f"correct the batch size in {two['net']}",
        )  # fmt: skip
    compare(
        f"{dual_1} and {dual_2}", one["output"], two["output"],
        "the dual layers must be the same but for their names",
    )  # fmt: skip
    compare(
        f"input {dual_2} of net1's loss", one["target"], two["target"],
        f"correct the layer that feeds {dual_2} in {one['net']}",
    )  # fmt: skip
    compare(
        f"parameters of {dual_1} and {dual_2}", one["parameters"], two["parameters"],
        "the dual layers must be the same but for their names",
    )  # fmt: skip
    if problems:
        raise ManifestMismatch("net1 and net2 do not match: " + "; ".join(problems))


def _shape(net: Any, blob: str) -> list[int]:
    return [int(size) for size in net.net.blobs[blob].shape]
