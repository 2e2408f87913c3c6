"""Times of each layer's passes, in the lines of `caffe time` (Caffe `tools/caffe.cpp`)."""

from __future__ import annotations

from typing import Callable

from dualnet.engine import log
from dualnet.engine.net.net import Net
from dualnet.engine.pycaffe.timer import Timer

__all__ = ["measure"]


def measure(net: Net, iterations: int) -> None:
    """Runs a net and logs the mean time of each layer's forward and backward pass.

    Args:
        net: the net; its data layers advance.
        iterations: how many passes in both directions to average over, after a first one.
    """
    last = len(net.layers) - 1
    log.info("Performing Forward")
    # Inputs, if the net has any, keep their zeros: for the time their values do not matter.
    log.info(f"Initial loss: {net._forward(0, last):g}")
    log.info("Performing Backward")
    net._backward(last, 0)
    log.info("*** Benchmark begins ***")
    log.info(f"Testing for {iterations} iterations.")
    forward_ms, backward_ms = [0.0] * (last + 1), [0.0] * (last + 1)
    forward_total_ms = backward_total_ms = total_ms = 0.0
    for iteration in range(1, iterations + 1):
        passes = Timer()
        passes.start()
        for index in range(last + 1):
            forward_ms[index] += _timed(lambda i: net._forward(i, i), index)
        forward_total_ms += passes.ms
        one_ms = passes.ms  # of forward alone; backward is added below
        passes.start()
        for index in range(last, -1, -1):
            backward_ms[index] += _timed(lambda i: net._backward(i, i), index)
        backward_total_ms += passes.ms
        one_ms += passes.ms
        total_ms += one_ms
        log.info(f"Iteration: {iteration} forward-backward time: {one_ms:g} ms.")
    log.info("Average time per layer: ")
    for name, forward, backward in zip(net._layer_names, forward_ms, backward_ms):
        log.info(f"{name:>10}\tforward: {forward / iterations:g} ms.")
        log.info(f"{name:>10}\tbackward: {backward / iterations:g} ms.")
    log.info(f"Average Forward pass: {forward_total_ms / iterations:g} ms.")
    log.info(f"Average Backward pass: {backward_total_ms / iterations:g} ms.")
    log.info(f"Average Forward-Backward: {total_ms / iterations:g} ms.")
    log.info(f"Total Time: {total_ms:g} ms.")
    log.info("*** Benchmark ends ***")


def _timed(work: Callable[[int], object], index: int) -> float:
    timer = Timer()
    timer.start()
    work(index)
    return timer.ms
