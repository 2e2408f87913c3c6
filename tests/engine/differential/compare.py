"""One net on both providers: same weights, same inputs, every blob and gradient compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dualnet.engine import random
from dualnet.engine.net import Net
from tests.engine.differential.judge import Judge
from tests.engine.differential.random_net import RandomNet

__all__ = ["Difference", "Rejected", "Verdict", "compare"]

#: Largest difference, relative to the largest magnitude in the blob.
TOLERANCE = 1e-5
#: Losses are means of logarithms near zero, which BVLC takes of 1 + exp(x): none is finer than this.
LOSS_FLOOR = 2e-7
#: Where that fails, rounding may be the cause: the engine repeats the net this often with every
#: layer's results changed in their last bit, and a difference within SLACK times the spread that
#: this makes is no mismatch. Such arrays are counted as "ill-conditioned".
JITTERS, JITTER, SLACK = 6, 2.0**-23, 10.0
#: Nets with larger or no numbers are not compared: the float32 sums of both providers may overflow.
LARGEST = 1e6

Arrays = dict[str, np.ndarray]


class Rejected(Exception):
    """The net's values overflow; nothing can be compared."""


@dataclass(frozen=True)
class Difference:
    """An array that differs.

    Attributes:
        name: "data:BLOB", "diff:BLOB", "param:LAYER:INDEX" or "grad:LAYER:INDEX".
        relative: the largest difference, relative to the array's scale.
        spread: the same for rounding alone.
    """

    name: str
    relative: float
    spread: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} differs by {self.relative:.2g} (rounding: {self.spread:.2g})"


@dataclass
class Verdict:
    """What came of a net.

    Attributes:
        arrays: how many arrays were compared.
        worst: the largest relative difference among those within the tolerance.
        ill_conditioned: what differs more, as rounding does.
        mismatches: what differs otherwise.
    """

    arrays: int = 0
    worst: float = 0.0
    ill_conditioned: list[Difference] = field(default_factory=list)
    mismatches: list[Difference] = field(default_factory=list)


def compare(judge: Judge, folder: Path, case: RandomNet) -> Verdict:
    """Runs a net on both providers.

    Args:
        judge: BVLC Caffe.
        folder: for the net's files.
        case: the net.

    Raises:
        Rejected: its values are too large.
        JudgeDied: BVLC aborted.
        CaffeError: the engine refused the net.
    """
    path, model = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(case.text)
    draw = np.random.default_rng([1701, case.seed])
    random.set_random_seed(case.seed)
    net = Net(path, case.phase)
    _draw_statistics(net, draw)
    net.save(model)
    given: Arrays = {f"data:{name}": spec.draw(draw) for name, spec in case.inputs.items()}
    diffs = [name for name in net.outputs if not net.blob_loss_weights[name]]
    for name in diffs:
        given[f"diff:{name}"] = draw.standard_normal(net.blobs[name].dims).astype(np.float32)
    ours = run_engine(net, case, given)
    if any(not np.all(np.abs(a) < LARGEST) for a in ours.values()):
        raise Rejected(f"seed {case.seed}")
    job = {
        "net": str(path), "weights": str(model), "phase": case.phase, "diffs": diffs,
        "inputs": list(case.inputs), "passes": case.passes, "backwards": case.backwards,
    }  # fmt: skip
    theirs = judge.run(job, given)

    def jittered() -> Arrays:
        again = Net(path, case.phase)
        again.copy_from(model)
        for blobs in again.params.values():
            for blob in blobs:
                blob.data[...] = _jitter(blob.data, draw)
        values = {
            name: values
            if name[:5] == "data:" and case.inputs[name[5:]].below
            else _jitter(values, draw)
            for name, values in given.items()
        }
        _jitter_results(again, draw)
        return run_engine(again, case, values)

    return judge_arrays(ours, {name: theirs[name] for name in ours}, jittered)


def run_engine(net: Net, case: RandomNet, given: Arrays) -> Arrays:
    """Runs the engine's net as server.py runs BVLC's; leaves out diffs that nothing computed."""
    for _ in range(case.passes):
        for name in case.inputs:
            net.blobs[name].data[...] = given[f"data:{name}"]
        net.forward()
    net.clear_param_diffs()
    for _ in range(case.backwards):
        for name, values in given.items():
            if name.startswith("diff:"):
                net.blobs[name[5:]].diff[...] = values
        net.backward()
    found: Arrays = {}
    wanted = blobs_with_gradient(net)
    for name, blob in net.blobs.items():
        found[f"data:{name}"] = blob.data.copy()
        if name in wanted:
            found[f"diff:{name}"] = blob.diff.copy()
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"param:{name}:{index}"] = blob.data.copy()
            found[f"grad:{name}:{index}"] = blob.diff.copy()
    return found


def blobs_with_gradient(net: Net) -> set[str]:
    """Blobs whose diff a layer computes. In others BVLC's layers keep intermediate results.

    Of several readers in place the first decides: it is the last to write the diff.
    """
    wanted: dict[str, bool] = {}
    for node in net._plan.nodes:
        for blob_id, down in zip(node.bottom_ids, node.bottom_need_backward):
            wanted.setdefault(net._plan.blob_names[blob_id], node.need_backward and down)
    return {name for name, computed in wanted.items() if computed}


def judge_arrays(ours: Arrays, theirs: Arrays, jittered: Callable[[], Arrays]) -> Verdict:
    """Compares arrays of the same names.

    Args:
        ours: the engine's.
        theirs: BVLC's.
        jittered: runs the engine with everything changed in the last bit.
    """
    verdict, doubtful = Verdict(arrays=len(ours)), []
    for name, mine in ours.items():
        if mine.shape != theirs[name].shape:
            verdict.mismatches.append(Difference(f"{name} (shape)", math.inf))
            continue
        relative = _relative(mine, theirs[name], theirs[name])
        close = not mine.ndim and abs(float(mine) - float(theirs[name])) < LOSS_FLOOR
        if relative <= TOLERANCE or close:
            verdict.worst = max(verdict.worst, 0.0 if close else relative)
        else:
            doubtful.append((name, relative))
    if doubtful:
        runs = [jittered() for _ in range(JITTERS)]
        for name, relative in doubtful:
            spread = max(_relative(run[name], ours[name], theirs[name]) for run in runs)
            found = Difference(name, relative, spread)
            within = relative <= TOLERANCE + SLACK * spread
            (verdict.ill_conditioned if within else verdict.mismatches).append(found)
    return verdict


def _relative(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> float:
    if not a.size:
        return 0.0
    if not np.all(np.isfinite(b) == np.isfinite(a)):
        return math.inf
    largest = float(np.max(np.abs(scale)))
    difference = float(np.max(np.abs(a.astype(np.float64) - b)))
    return difference / largest if largest else difference and math.inf


def _jitter_results(net: Net, draw: np.random.Generator) -> None:
    """Changes what each layer computes, in both directions, in the last bit."""
    nodes = net._plan.nodes

    def forward(index: int) -> None:
        if nodes[index].param.type not in ("Input", "Split"):
            for blob in nodes[index].tops:
                blob.data[...] = _jitter(blob.data, draw)

    def backward(index: int) -> None:
        for blob, down in zip(nodes[index].bottoms, nodes[index].bottom_need_backward):
            if down:
                blob.diff[...] = _jitter(blob.diff, draw)

    net.after_forward(forward)
    net.after_backward(backward)


def _jitter(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    noise = 1 + JITTER * draw.standard_normal(values.shape)
    return (values * noise).astype(np.float32)


def _draw_statistics(net: Net, draw: np.random.Generator) -> None:
    """Gives normalising layers statistics as after training: without any they divide by zero."""
    for node in net._plan.nodes:
        if node.param.type == "BatchNorm":
            for blob in node.layer.blobs:
                blob.data[...] = draw.uniform(1, 2, blob.dims)
