"""pycaffe's `Timer`: wall-clock time that waits for the GPU's work (`util/benchmark.cpp`)."""

from __future__ import annotations

import time

import torch

from dualnet.engine.core import device

__all__ = ["Timer"]


class Timer:
    """Measures the time between `start` and `stop`."""

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._elapsed_s = 0.0

    def start(self) -> None:
        """Starts, unless it is running already."""
        if self._start_s is None:
            _finish_device_work()
            self._start_s = time.perf_counter()

    def stop(self) -> None:
        """Stops; without effect unless running."""
        if self._start_s is not None:
            _finish_device_work()
            self._elapsed_s = time.perf_counter() - self._start_s
            self._start_s = None

    @property
    def ms(self) -> float:
        """The last interval in milliseconds; stops a running timer, 0 before the first start."""
        self.stop()
        return self._elapsed_s * 1e3


def _finish_device_work() -> None:
    """Waits for the GPU, whose calls return before the work is done."""
    if device.current().type == "cuda":
        torch.cuda.synchronize(device.current())
