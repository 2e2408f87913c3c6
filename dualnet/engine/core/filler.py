"""Initial values of parameters (Caffe `include/caffe/filler.hpp`)."""

from __future__ import annotations

import math
from typing import Callable

import torch
from torch import Tensor

from dualnet.engine.core import random
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.proto import caffe_pb2

__all__ = ["fill"]


Filler = Callable[[Blob, caffe_pb2.FillerParameter, torch.Generator], Tensor]


def fill(blob: Blob, param: caffe_pb2.FillerParameter) -> None:
    """Sets a blob's data.

    The first axis counts as the outputs and the rest as what each reads: for weights (O, I, kh, kw)
    the fan-in is I kh kw. The fan-out is Caffe's: the count without axis 1, O kh kw. Values are
    drawn on the CPU whatever the device, so that a seed means the same everywhere.

    Args:
        blob: the blob; its shape gives the fan-in and fan-out.
        param: the filler's type and numbers.

    Raises:
        PrototxtError: unknown type, or numbers that contradict each other.
    """
    if param.type not in _FILLERS:
        raise PrototxtError(
            f"unknown filler type '{param.type}'; the types are: {', '.join(sorted(_FILLERS))}"
        )
    if param.sparse != -1 and param.type != "gaussian":
        raise PrototxtError(
            f"filler type '{param.type}' does not take sparse ({param.sparse}); only gaussian does"
        )
    values = _FILLERS[param.type](blob, param, random.generator(torch.device("cpu")))
    blob.set_data(values)


def _constant(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    return torch.full(blob.dims, param.value, dtype=torch.float32)


def _uniform(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    if not param.min <= param.max:
        raise PrototxtError(f"uniform filler: min {param.min:g} must not exceed max {param.max:g}")
    return torch.empty(blob.dims).uniform_(param.min, param.max, generator=draw)


def _gaussian(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    if not param.std >= 0:
        raise PrototxtError(f"gaussian filler: std must be 0 or more, it is {param.std:g}")
    values = torch.empty(blob.dims).normal_(param.mean, param.std, generator=draw)
    if param.sparse >= 0:
        # Each weight is kept with probability sparse / shape[0], as in Caffe. Axis 0 runs over the
        # outputs, so that each input keeps `sparse` of its weights on average.
        if blob.dims[0] < param.sparse:
            raise PrototxtError(
                f"gaussian filler: sparse {param.sparse} exceeds the first dimension of the "
                f"parameter's shape {blob.dims}"
            )
        keep = torch.empty(blob.dims).bernoulli_(param.sparse / blob.dims[0], generator=draw)
        values *= keep
    return values


def _positive_unitball(
    blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator
) -> Tensor:
    """Uniform in [0, 1), each row of axis 0 then divided by its sum."""
    values = torch.empty(blob.dims).uniform_(0.0, 1.0, generator=draw)
    rows = values.view(blob.dims[0], -1)
    rows /= rows.sum(dim=1, keepdim=True)
    return values


def _fan(blob: Blob, param: caffe_pb2.FillerParameter) -> float:
    """n of `variance_norm`: FAN_IN (the default), FAN_OUT, or AVERAGE of both; see `fill`."""
    if not blob.count:
        return 1.0  # no value to scale
    fan_in = blob.count / blob.dims[0]
    # Compatibility with ND blobs: a vector's fan-out is its count.
    fan_out = blob.count / blob.dims[1] if blob.ndim > 1 else float(blob.count)
    if param.variance_norm == caffe_pb2.FillerParameter.FAN_OUT:
        return fan_out
    if param.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


def _xavier(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    """Uniform in [-b, b], b = sqrt(3 / n), which has variance 1 / n (Glorot and Bengio 2010)."""
    bound = math.sqrt(3.0 / _fan(blob, param))
    return torch.empty(blob.dims).uniform_(-bound, bound, generator=draw)


def _msra(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    """Normal with variance 2 / n (He et al. 2015)."""
    deviation = math.sqrt(2.0 / _fan(blob, param))
    return torch.empty(blob.dims).normal_(0.0, deviation, generator=draw)


def _bilinear(blob: Blob, param: caffe_pb2.FillerParameter, draw: torch.Generator) -> Tensor:
    """The kernel of bilinear upsampling, for Deconvolution with one filter a channel."""
    if blob.ndim != 4 or blob.dims[2] != blob.dims[3]:
        raise ShapeError(
            f"bilinear filler needs a parameter of shape (_, _, k, k), this one has {blob.dims}"
        )
    size = blob.dims[3]
    # A tent along each axis, 1 at pixel c * f and falling by 1 / f a pixel, by Caffe's formula; the
    # kernel is the product of two.
    f = math.ceil(size / 2.0)
    c = (2 * f - 1 - f % 2) / (2.0 * f)
    ramp = 1 - (torch.arange(size, dtype=torch.float32) / f - c).abs()
    return (ramp[:, None] * ramp[None, :]).expand(blob.dims).contiguous()


_FILLERS: dict[str, Filler] = {
    "bilinear": _bilinear,
    "constant": _constant,
    "gaussian": _gaussian,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "uniform": _uniform,
    "xavier": _xavier,
}
