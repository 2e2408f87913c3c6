"""A net trained through pycaffe, that of the engine or of BVLC Caffe."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["PycaffeTrainer"]

Times = dict[str, list[float]]


class PycaffeTrainer:
    """Trains on one batch of random images.

    Args:
        provider: `engine` or `bvlc`.
        solver_file: the solver's prototxt.
        classes: labels are below this number.
    """

    def __init__(self, provider: str, solver_file: str, classes: int) -> None:
        if provider == "engine":
            from dualnet import engine

            caffe: Any = engine.register()
        else:
            import caffe  # type: ignore[no-redef]
        import numpy

        caffe.set_mode_cpu()
        self._solver = caffe.SGDSolver(solver_file)
        self._net = self._solver.net
        blobs = self._net.blobs
        draw = numpy.random.RandomState(0)
        images = draw.uniform(-0.5, 0.5, tuple(blobs["data"].shape))
        blobs["data"].data[...] = images
        blobs["label"].data[...] = draw.randint(classes, size=tuple(blobs["label"].shape))

    def step(self) -> None:
        """Forward, backward and update."""
        self._solver.step(1)

    def loss(self) -> float:
        """The loss of the last step."""
        return float(self._net.blobs["loss"].data)

    def layer_times(self, steps: int) -> Times:
        """Times each layer.

        Args:
            steps: how often.

        Returns:
            Seconds a step by `LAYER forward` and `LAYER backward`.
        """
        net, times = self._net, {}  # type: ignore[var-annotated]
        last = len(net.layers) - 1
        for _ in range(steps):
            for i in range(last + 1):
                start_s = time.perf_counter()
                net._forward(i, i)
                times.setdefault(f"{net._layer_names[i]} forward", []).append(_since(start_s))
            for i in range(last, -1, -1):
                start_s = time.perf_counter()
                net._backward(i, i)
                times.setdefault(f"{net._layer_names[i]} backward", []).append(_since(start_s))
            start_s = time.perf_counter()
            self._solver.apply_update()
            times.setdefault("update", []).append(_since(start_s))
            net.clear_param_diffs()
        return times


def _since(start_s: float) -> float:
    return time.perf_counter() - start_s
