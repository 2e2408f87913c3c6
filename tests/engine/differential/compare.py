"""One net on both providers: same weights, same inputs, every blob and gradient compared."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dualnet import engine
from dualnet.engine.core import random
from dualnet.engine.net.net import Net
from tests.engine.differential.judge import Judge
from tests.engine.differential.random_net import RandomNet
from tests.engine.differential.stepwise import run_stepwise

__all__ = ["Difference", "Rejected", "Verdict", "compare"]

#: Largest difference, relative to the largest magnitude in the blob.
TOLERANCE = 1e-5
#: The same for parameters' gradients: sums over batch and image, which each adds in its own order.
PARAM_TOLERANCE = 5e-5
#: BVLC adds a loss's terms one by one in float32: each may round the sum by half its last bit.
TERM_TOLERANCE = 2.0**-24
#: Losses are means of logarithms near 0, which BVLC takes of 1 + exp(x): none is finer than this.
LOSS_FLOOR = 5e-7
#: Where that fails, rounding may be the cause, and the array gets two more chances. First, each
#: layer computes from BVLC's numbers (stepwise.py), within the same tolerances. Then, the engine
#: repeats the net this often with every layer's results changed in their last bit, and a difference
#: within SLACK times the spread that this makes is no mismatch: the array is "ill-conditioned".
JITTERS, JITTER, SLACK = 6, 2.0**-23, 10.0
#: Nets with larger values, or NaN, are not compared: float32 sums of either provider may overflow.
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
        stepwise: what differs more, but not where each layer computes from BVLC's numbers.
        ill_conditioned: what differs more there as well, as rounding does.
        mismatches: what differs otherwise.
    """

    arrays: int = 0
    worst: float = 0.0
    stepwise: list[Difference] = field(default_factory=list)
    ill_conditioned: list[Difference] = field(default_factory=list)
    mismatches: list[Difference] = field(default_factory=list)


def compare(judge: Judge, folder: Path, case: RandomNet, stored: bool = True) -> Verdict:
    """Runs a net on both providers.

    Args:
        judge: BVLC Caffe.
        folder: for the net's files.
        case: the net.
        stored: BVLC loads the engine's caffemodel; False hands over arrays, faster for large nets.

    Raises:
        Rejected: its values are too large.
        JudgeDied: BVLC aborted.
        CaffeError: the engine refused the net.
    """
    path, model = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(case.text)
    if case.path:
        engine.register()  # the layers import caffe
        if case.path not in sys.path:
            sys.path.append(case.path)
    draw = np.random.default_rng([1701, case.seed])
    random.set_random_seed(case.seed)
    net = Net(path, case.phase)
    _draw_params(net, draw)
    if stored:
        net.save(model)
    given: Arrays = {f"data:{name}": spec.draw(draw) for name, spec in case.inputs.items()}
    weights = {
        f"param:{name}:{index}": blob.data.copy()
        for name, blobs in net.params.items()
        for index, blob in enumerate(blobs)
    }
    diffs = [name for name in net.outputs if not net.blob_loss_weights[name]]
    for name in diffs:
        given[f"diff:{name}"] = draw.standard_normal(net.blobs[name].dims).astype(np.float32)
    ours = run_engine(net, case, given)
    if any(not np.all(np.abs(a) < LARGEST) for a in ours.values()):
        raise Rejected(f"seed {case.seed}")
    job = {
        "net": str(path), "weights": str(model) if stored else "", "phase": case.phase,
        "path": case.path, "diffs": diffs, "inputs": list(case.inputs), "passes": case.passes,
        "backwards": case.backwards,
    }  # fmt: skip
    theirs = judge.run(job, given if stored else {**given, **weights})

    def stepwise() -> Arrays:
        if case.passes > 1 or case.backwards > 1:
            return {}
        again = Net(path, case.phase)
        for name, blobs in again.params.items():
            for index, blob in enumerate(blobs):
                blob.data[...] = weights[f"param:{name}:{index}"]
        return run_stepwise(again, given, theirs, blobs_with_gradient(again))

    def jittered() -> Arrays:
        again = Net(path, case.phase)
        for name, blobs in again.params.items():
            for index, blob in enumerate(blobs):
                blob.data[...] = _jitter(weights[f"param:{name}:{index}"], draw)
        values = {
            name: values
            if name[:5] == "data:" and case.inputs[name[5:]].below
            else _jitter(values, draw)
            for name, values in given.items()
        }
        _jitter_results(again, draw)
        return run_engine(again, case, values)

    return judge_arrays(
        ours, {name: theirs[name] for name in ours}, stepwise, jittered, loss_terms(net)
    )


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
    for node in net._structure.nodes:
        for blob_id, down in zip(node.bottom_ids, node.bottom_need_backward):
            wanted.setdefault(net._structure.blob_names[blob_id], node.need_backward and down)
    return {name for name, computed in wanted.items() if computed}


def loss_terms(net: Net) -> dict[str, int]:
    """How many terms each loss is a sum of, by array name."""
    return {
        f"data:{net._structure.blob_names[node.top_ids[0]]}": node.bottoms[0].count
        for node in net._structure.nodes
        if node.param.type.endswith("Loss")
    }


def judge_arrays(
    ours: Arrays,
    theirs: Arrays,
    stepwise: Callable[[], Arrays],
    jittered: Callable[[], Arrays],
    terms: dict[str, int],
) -> Verdict:
    """Compares arrays of the same names.

    Args:
        ours: the engine's.
        theirs: BVLC's.
        stepwise: runs the engine with each layer given BVLC's numbers; may leave arrays out.
        jittered: runs the engine with everything changed in the last bit.
        terms: see `loss_terms`.
    """
    verdict, doubtful = Verdict(arrays=len(ours)), []
    for name, mine in ours.items():
        if mine.shape != theirs[name].shape:
            verdict.mismatches.append(Difference(f"{name} (shape)", math.inf))
            continue
        relative = _difference(name, mine, theirs[name])
        if relative <= _tolerance(name, terms):
            verdict.worst = max(verdict.worst, relative)
        else:
            doubtful.append(Difference(name, relative))
    alone = stepwise() if doubtful else {}
    remaining = []
    for found in doubtful:
        name = found.name
        if name in alone:
            near = _difference(name, alone[name], theirs[name]) <= _tolerance(name, terms)
            (verdict.stepwise if near else remaining).append(found)
        else:
            remaining.append(found)
    runs = [jittered() for _ in range(JITTERS)] if remaining else []
    for found in remaining:
        name = found.name
        scale = _scale(ours[name], theirs[name])
        spread = max(_relative(run[name], ours[name], scale) for run in runs)
        within = found.relative <= TOLERANCE + SLACK * spread
        found = Difference(name, found.relative, spread)
        (verdict.ill_conditioned if within else verdict.mismatches).append(found)
    return verdict


def _tolerance(name: str, terms: dict[str, int]) -> float:
    if name.startswith("grad:"):
        return PARAM_TOLERANCE
    return max(TOLERANCE, terms.get(name, 0) * TERM_TOLERANCE)


def _difference(name: str, mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the array's scale; 0 for losses within their floor."""
    if not mine.ndim and abs(float(mine) - float(theirs)) < LOSS_FLOOR:
        return 0.0
    return _relative(mine, theirs, _scale(mine, theirs))


def _scale(a: np.ndarray, b: np.ndarray) -> float:
    """The largest magnitude in two arrays: nonzero if they differ at all."""
    return max(float(np.max(np.abs(x), initial=0.0)) for x in (a, b))


def _relative(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    if not a.size or not scale:
        return 0.0
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return math.inf
    return float(np.max(np.abs(a.astype(np.float64) - b))) / scale


def _jitter_results(net: Net, draw: np.random.Generator) -> None:
    """Changes what each layer computes, in both directions, and loss weights in the last bit."""
    nodes = net._structure.nodes
    for node in nodes:
        for top, weight in zip(node.tops, node.loss_weights):
            if weight:
                top.diff[...] = _jitter(top.diff, draw)

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
    """Adds what a sum's rounding may: it follows the terms' size more than the result's."""
    typical = float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
    size = np.where(values == 0, 0.0, np.abs(values) + typical)  # zeros are mostly exact
    return (values + JITTER * size * draw.standard_normal(values.shape)).astype(np.float32)


def _draw_params(net: Net, draw: np.random.Generator) -> None:
    """Gives values to parameters that prototxt leaves at zero.

    Normalising layers get statistics as after training: without any they divide by zero.
    """
    for node in net._structure.nodes:
        for blob in node.layer.blobs:
            if node.param.type == "BatchNorm":
                blob.data[...] = draw.uniform(1, 2, blob.dims)
            elif not blob.data.any():
                scale = 1 / math.sqrt(max(1, math.prod(blob.dims[1:])))
                blob.data[...] = scale * draw.standard_normal(blob.dims, np.float32)
