"""PyTorch's exported programs: traced from a module, stored as .pt2 and run from there."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dualnet.engine.errors import CaffeError, UnsupportedError
from dualnet.engine.export.module import NetModule
from dualnet.engine.export.operation import Operation
from dualnet.engine.export.support import refuse
from dualnet.engine.net.node import Node

__all__ = ["Runner", "open_pt2", "quietly", "trace", "write_pt2"]

#: Runs a net: its inputs in order, (N, …) float32 each, to its outputs by name.
Runner = Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]]

#: The batch of the example that is traced: PyTorch takes 0 and 1 for special cases.
_BATCH = 3


def trace(module: NetModule) -> torch.export.ExportedProgram:
    """Traces a module; the batch of the program may have any size from 1.

    Raises:
        UnsupportedError: layers cannot be traced so; it names all of them.
    """
    inputs = [_example(blob.dims) for node in module.nodes if node.layer.is_input
              for blob in node.tops]  # fmt: skip
    try:
        return _trace(module, inputs)
    except Exception as error:  # whatever a tracer meets in layers that it does not know
        refuse((node, _failure(node, step)) for node, step, _ in module._steps)
        raise UnsupportedError(f"the net cannot be exported: {_first_line(error)}") from error


def _trace(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} if values.dim() else None for values in inputs)
    with torch.no_grad(), quietly():
        program = torch.export.export(module, tuple(inputs), dynamic_shapes=shapes, strict=False)
        # Without what changes tensors in place; operators stay as they are.
        program = program.run_decompositions({})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return program


def _example(dims: Sequence[int]) -> Tensor:
    return torch.zeros([_BATCH, *dims[1:]] if dims else [])


class _Alone(nn.Module):
    """One layer."""

    def __init__(self, step: Operation) -> None:
        super().__init__()
        self._step = step

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        return self._step(self._step.weights, inputs)


def _failure(node: Node, step: Operation) -> str:
    """Why a layer cannot be traced, "" if it can."""
    examples = [_example(blob.dims) for blob in node.bottoms]
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} if values.dim() else None for values in examples),)
    try:
        with torch.no_grad(), quietly():
            torch.export.export(_Alone(step), tuple(examples), dynamic_shapes=shapes, strict=False)
    except CaffeError as error:
        return f"does not run with a batch of any size: {_first_line(error)}"
    except Exception as error:  # as above
        return f"cannot be traced with a batch of any size: {_first_line(error)}"
    return ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def quietly() -> Iterator[None]:
    """Without what PyTorch's exporters say of themselves, as that torchvision is not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def write_pt2(program: torch.export.ExportedProgram, path: str, texts: Mapping[str, str]) -> None:
    """Writes a program.

    Args:
        program: what `trace` returned.
        path: the file.
        texts: further contents by name, which `torch.export.load` gives as `extra_files`.

    Raises:
        OSError: as the system says.
    """
    with quietly():
        try:
            torch.export.save(program, path, extra_files=dict(texts))
        except RuntimeError as error:  # of PyTorch's own writer, as when the disk is full
            raise OSError(errno.EIO, _first_line(error), path) from error


def open_pt2(path: str) -> Runner:
    """Loads a program as its users do.

    Args:
        path: the file.
    """
    with quietly():
        module = torch.export.load(path).module()

    def run(inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = module(*map(torch.from_numpy, inputs))
        return {name: values.numpy() for name, values in outputs.items()}

    return run
