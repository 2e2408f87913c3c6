"""A GPU for machines without one: tensors that say `cuda:0` and compute on the CPU.

Every operator is intercepted. Where it mixes tensors of both devices it fails, as CUDA's does;
where values cross from one device to the other it is written down. What this cannot show is what
CUDA's own kernels compute. (PyTorch's `meta` device has no values at all.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from dualnet.engine.core import device, random

__all__ = ["Bus", "fake_gpu"]

GPU = torch.device("cuda", 0)
_aten = torch.ops.aten


@dataclass
class Bus:
    """What crossed between the devices.

    Attributes:
        up: numbers of values copied to the GPU, one entry a copy.
        down: the same in the other direction; a 1 is a scalar that Python read.
    """

    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets what has crossed so far."""
        self.up.clear()
        self.down.clear()


class _GpuTensor(torch.Tensor):
    """A tensor that claims to be on the GPU; `inner` is where its values are."""

    inner: torch.Tensor
    bus: Bus

    @staticmethod
    def __new__(cls, inner: torch.Tensor, bus: Bus) -> _GpuTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device="meta",
        )  # fmt: skip
        made.inner, made.bus = inner, bus
        return made

    # PyTorch's C++ side sees a meta tensor: for one on a GPU it would ask CUDA's runtime.

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """What Python sees."""
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """What Python sees."""
        return True

    def tolist(self) -> Any:
        """Counts as one copy."""
        self.bus.down.append(self.inner.numel())
        return self.inner.tolist()

    def item(self) -> Any:
        """Counts as one copy."""
        return self.reshape(()).tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on a GPU tensor outside of fake_gpu()")


class _Mode(TorchDispatchMode):
    """Runs every operator on the CPU, and keeps account of the devices."""

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self._bus = bus

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)]
        on_gpu = any(isinstance(t, _GpuTensor) for t in tensors)
        if func is _aten.copy_.default:
            return self._copy(*args)
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        if func is _aten._to_copy.default:
            return self._to(args[0], target, kwargs)
        if on_gpu:
            mixed = [t for t in tensors if not isinstance(t, _GpuTensor) and t.dim()]
            assert not mixed, f"{func} mixes cuda:0 with a CPU tensor of shape {mixed[0].shape}"
        gpu = on_gpu if target is None else torch.device(target).type == "cuda"
        result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if not gpu:
            return result
        # An operator in place, or with out=, returns the tensor that it was given.
        known = {id(t.inner): t for t in tensors if isinstance(t, _GpuTensor)}

        def outer(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return known[id(value)] if id(value) in known else _GpuTensor(value, self._bus)

        return tree_map(outer, result)

    def _to(self, source: torch.Tensor, target: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        was_gpu = isinstance(source, _GpuTensor)
        gpu = was_gpu if target is None else torch.device(target).type == "cuda"
        copied = _aten._to_copy.default(_inner(source), **kwargs)
        if gpu != was_gpu:
            (self._bus.up if gpu else self._bus.down).append(copied.numel())
        return _GpuTensor(copied, self._bus) if gpu else copied

    def _copy(self, target: torch.Tensor, source: torch.Tensor, *rest: Any) -> torch.Tensor:
        kinds = isinstance(target, _GpuTensor), isinstance(source, _GpuTensor)
        if kinds[0] != kinds[1]:
            (self._bus.up if kinds[0] else self._bus.down).append(source.numel())
        _aten.copy_.default(_inner(target), _inner(source), *rest)
        return target


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, _GpuTensor) else value


@contextlib.contextmanager
def fake_gpu() -> Iterator[Bus]:
    """Gives the engine one GPU within the block, and puts it in CPU mode afterwards."""
    generator = torch.Generator()
    generators = {GPU: generator, torch.device("cpu"): torch.Generator()}
    bus = Bus()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "synchronize", lambda *_: None)
        patch.setattr(random, "_generators", generators)
        try:
            with _Mode(bus):
                yield bus
                device.set_mode_cpu()
        finally:
            device.set_mode_cpu()
