"""Any number of samples through a net, in pieces of its batch size (`python/caffe/pycaffe.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dualnet.engine.core.net import Net

__all__ = ["Arrays", "cut", "forward_all", "forward_backward_all"]

Arrays = dict[str, np.ndarray]
_Rows = dict[str, list[np.ndarray]]


def forward_all(net: Net, blobs: Sequence[str] | None, inputs: dict[str, Any]) -> Arrays:
    """See `Net.forward_all`."""
    collected: _Rows = {name: [] for name in {*net.outputs, *(blobs or [])}}
    for batch in cut(net, inputs):
        _collect(collected, net.forward(blobs, None, None, **batch))
    return _without_padding(collected, len(next(iter(inputs.values()))))


def forward_backward_all(
    net: Net, blobs: Sequence[str] | None, diffs: Sequence[str] | None, arrays: dict[str, Any]
) -> tuple[Arrays, Arrays]:
    """See `Net.forward_backward_all`."""
    data: _Rows = {name: [] for name in {*net.outputs, *(blobs or [])}}
    grads: _Rows = {name: [] for name in {*net.inputs, *(diffs or [])}}
    inputs = cut(net, {name: arrays[name] for name in net.inputs if name in arrays})
    outputs = cut(net, {name: arrays[name] for name in net.outputs if name in arrays})
    for batch, top_diffs in zip_longest(inputs, outputs):
        _collect(data, net.forward(blobs, None, None, **(batch or {})))
        _collect(grads, net.backward(diffs, None, None, **(top_diffs or {})))
    count = len(next(iter(arrays.values())))
    return _without_padding(data, count), _without_padding(grads, count)


def cut(net: Net, blobs: dict[str, Any]) -> Iterator[Arrays]:
    """Cuts arrays into pieces of the net's batch size; the last is padded with zeros."""
    if not blobs:
        return
    arrays = {name: np.asarray(values) for name, values in blobs.items()}
    total = len(next(iter(arrays.values())))
    size = next(iter(net.blobs.values())).num
    for first in range(0, total, size):
        batch = {}
        for name, values in arrays.items():
            piece = values[first : first + size]
            missing = size - len(piece)
            if missing:
                padding = np.zeros((missing, *piece.shape[1:]), piece.dtype)
                piece = np.concatenate([piece, padding])
            batch[name] = piece
        yield batch


def _collect(rows: _Rows, arrays: Arrays) -> None:
    for name, values in arrays.items():
        rows[name].extend(values.copy())


def _without_padding(rows: _Rows, count: int) -> Arrays:
    return {name: np.asarray(values[:count]) for name, values in rows.items()}
