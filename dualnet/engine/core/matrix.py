"""Products of matrices, by the faster of PyTorch's two CPU libraries.

PyTorch hands float32 products to its BLAS (MKL in the wheels for x86) and convolutions to oneDNN.
MKL selects its kernels by CPU vendor: on an AMD EPYC, oneDNN multiplies matrices twice as fast, and
a step of CaffeNet (batch 16, one thread) takes 16 % less. Results differ by rounding alone, as
between any two BLAS libraries.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

__all__ = ["product"]

#: The smallest matrices for oneDNN; below either limit it is no faster.
_LEAST_SIDE = 4
_LEAST_MULTIPLICATIONS = 2**22

# x, w, bias -> x w' + bias. Builds of PyTorch without oneDNN lack it.
_linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def product(a: Tensor, b: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """Computes a b + bias.

    Args:
        a: (M, K) float32; one of its strides is 1.
        b: (K, N), likewise.
        bias: (N,), or None for none.

    Returns:
        (M, N), contiguous.
    """
    sides = (*a.shape, b.shape[1])
    large = sides[0] * sides[1] * sides[2] >= _LEAST_MULTIPLICATIONS and min(sides) >= _LEAST_SIDE
    if large and _linear is not None and a.device.type == "cpu" and _onednn_enabled():
        return _linear(a, b.t(), bias, "none", [], "")  # without an activation fused to it
    return torch.mm(a, b) if bias is None else torch.addmm(bias, a, b)


def _onednn_enabled() -> bool:
    """Whether the user has left oneDNN on."""
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
