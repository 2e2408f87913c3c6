"""A GPU's memory as PyTorch's allocator counts it."""

from __future__ import annotations

import torch

__all__ = ["allocated_bytes", "limit", "peak_bytes", "reset_peak"]


def allocated_bytes(index: int) -> int:
    """Bytes that tensors have now."""
    torch.cuda.synchronize(index)
    return int(torch.cuda.memory_allocated(index))


def peak_bytes(index: int) -> int:
    """The most that tensors have had since `reset_peak`."""
    torch.cuda.synchronize(index)
    return int(torch.cuda.max_memory_allocated(index))


def reset_peak(index: int) -> None:
    """Restarts the measurement of the peak."""
    torch.cuda.synchronize(index)
    torch.cuda.reset_peak_memory_stats(index)


def limit(index: int, size: int) -> None:
    """Lets this process reserve so many bytes at most; more is an OutOfMemoryError."""
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), index)
