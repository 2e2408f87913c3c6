"""A net trained in plain PyTorch: autograd, `torch.optim.SGD`, channels-last."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dualnet.engine.bench import plain

__all__ = ["PlainTrainer"]


class PlainTrainer:
    """Trains on one batch of random images, with the solver settings of nets.py.

    Args:
        name: the net.
        shape: (N, C, H, W).
        classes: labels are below this number.
    """

    def __init__(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        torch.manual_seed(1)
        self._net = plain.build(name)
        self._optimizer = torch.optim.SGD(
            self._net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005
        )
        images = torch.rand(shape) - 0.5
        self._images = images.contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(classes, shape[:1])
        self._loss = 0.0

    def step(self) -> None:
        """Forward, backward and update."""
        self._optimizer.zero_grad()
        loss = functional.cross_entropy(self._net(self._images), self._labels)
        loss.backward()
        self._optimizer.step()
        self._loss = float(loss.detach())

    def loss(self) -> float:
        """The loss of the last step."""
        return self._loss

    def layer_times(self, steps: int) -> dict[str, list[float]]:
        """Times each module; see `PycaffeTrainer.layer_times`."""
        times: dict[str, list[float]] = {}
        for _ in range(steps):
            x, tape = self._images, []
            for name, module in self._net.named_children():
                leaf = x.detach().requires_grad_(name != "conv1")
                entry = leaf.clone()  # its gradient is the leaf's, and modules may write over it
                start_s = time.perf_counter()
                x = module(entry)
                _note(times, f"{name} forward", start_s)
                tape.append((name, leaf, list(module.parameters()), x))
            leaf = x.detach().requires_grad_()
            start_s = time.perf_counter()
            loss = functional.cross_entropy(leaf, self._labels)
            _note(times, "loss forward", start_s)
            start_s = time.perf_counter()
            (gradient,) = torch.autograd.grad(loss, leaf)
            _note(times, "loss backward", start_s)
            del loss, x
            while tape:
                name, leaf, params, output = tape.pop()
                start_s = time.perf_counter()
                gradient = _backward(output, leaf, params, gradient)
                del output
                _note(times, f"{name} backward", start_s)
            start_s = time.perf_counter()
            self._optimizer.step()
            _note(times, "update", start_s)
            self._optimizer.zero_grad()
        return times


def _backward(output: Tensor, leaf: Tensor, params: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """Sets the parameters' gradients and returns that of the leaf, if it wants one."""
    inputs = [leaf, *params] if leaf.requires_grad else params
    results = list(torch.autograd.grad(output, inputs, gradient))
    to_input = results.pop(0) if leaf.requires_grad else gradient
    for param, result in zip(params, results):
        param.grad = result
    return to_input


def _note(times: dict[str, list[float]], name: str, start_s: float) -> None:
    times.setdefault(name, []).append(time.perf_counter() - start_s)
