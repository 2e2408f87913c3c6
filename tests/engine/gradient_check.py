"""Numerical gradients against a layer's backward pass (Caffe's `test_gradient_check_util.hpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dualnet.engine.core.blob import Blob
from tests.engine.harness import Rig

__all__ = ["check_gradients"]


def check_gradients(
    rig: Rig,
    bottoms: Sequence[int] | None = None,
    step: float = 1e-2,
    tolerance: float = 2e-3,
    avoid: float | None = None,
    avoid_range: float = 0.0,
    params: Sequence[int] | None = None,
) -> None:
    """Compares analytic and numerical gradients of a random linear function of the tops.

    Args:
        rig: the layer; its bottoms' values are the point where gradients are taken.
        bottoms: which bottoms to check, all by default.
        step: half the distance of the two numerical evaluations.
        tolerance: largest difference, relative to the larger of 1 and both gradients.
        avoid: a kink of the function; values within `avoid_range` of it are not checked.
        avoid_range: see `avoid`.
        params: which parameters to check, all by default.
    """
    tops = rig.forward()
    if rig.layer.default_loss_weight:
        weights = [np.array(rig.top[0].diff, copy=True)]
    else:
        weights = [np.random.uniform(-1, 1, t.shape).astype(np.float32) for t in tops]

    def objective() -> float:
        return float(sum((w.astype(np.float64) * t).sum() for w, t in zip(weights, rig.forward())))

    chosen = list(range(len(rig.bottom))) if bottoms is None else list(bottoms)
    numbers = range(len(rig.layer.blobs)) if params is None else params
    for blob in rig.layer.blobs:
        blob.clear_diff()
    down = [i in chosen for i in range(len(rig.bottom))]
    rig.backward(*weights, down=down)
    targets: list[tuple[str, Blob]] = [(f"bottom {i}", rig.bottom[i]) for i in chosen]
    targets += [(f"param {i}", rig.layer.blobs[i]) for i in numbers]
    analytic = [(name, blob, blob.diff.copy()) for name, blob in targets]
    for name, blob, gradient in analytic:
        values = blob.data.copy()
        for index in np.ndindex(*values.shape):
            if avoid is not None and abs(values[index] - avoid) < avoid_range:
                continue
            estimates = []
            for sign in (1, -1):
                changed = values.copy()
                changed[index] += sign * step
                blob.data[...] = changed
                estimates.append(objective())
            blob.data[...] = values
            numeric = (estimates[0] - estimates[1]) / (2 * step)
            scale = max(1.0, abs(numeric), abs(float(gradient[index])))
            assert abs(numeric - gradient[index]) <= tolerance * scale, (
                f"{name}{list(index)}: analytic {gradient[index]:g}, numeric {numeric:g}"
            )
