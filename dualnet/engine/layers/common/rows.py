"""Rows of a batch: Filter, BatchReindex (Caffe `L/filter_layer.cpp`, `batch_reindex_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.errors import GraphError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.common.embed import row_numbers
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["BatchReindex", "Filter"]


@register("Filter")
class Filter(Layer):
    """Keeps the rows where the last bottom, the selector, is not 0.

    Bottoms: any number of shape (N, …), then the selector (N,) or (N, 1, …). Tops: one a bottom but
    for the selector, (M, …) with the M rows kept. Until the first forward pass M is N.
    """

    bottoms = (2, None)
    tops = (1, None)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The selector, whose place is known from `setup` on, gets no gradient."""
        return bottom_index != self._selector

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Checks that each bottom but the selector has its top."""
        if len(top) != len(bottom) - 1:
            raise GraphError(
                f"layer '{self.name}' (Filter) has {len(bottom)} bottoms and {len(top)} tops; it "
                f"takes {len(bottom) - 1} tops, one a bottom but for the selector"
            )
        refuse_in_place(self, bottom, top)
        self._selector = len(bottom) - 1
        self._rows: Tensor  # the rows kept, (M,) int64; found in every reshape
        self._first = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Counts the rows to keep."""
        selector = bottom[-1]
        if not selector.dims or any(size != 1 for size in selector.dims[1:]):
            raise ShapeError(
                f"layer '{self.name}' (Filter): selector blob dimensions must be singletons (1), "
                f"except the first, the selector has shape {selector.dims}"
            )
        for index, blob in enumerate(bottom[:-1]):
            if blob.dims[:1] != selector.dims[:1]:
                raise ShapeError(
                    f"layer '{self.name}' (Filter): each bottom should have the same dimension 0 "
                    f"as the selector blob: bottom {index} has shape {blob.dims}, the selector "
                    f"{selector.dims}"
                )
        self._rows = selector.data_tensor.reshape(-1).nonzero().reshape(-1)
        count = selector.dims[0] if self._first else len(self._rows)
        self._first = False
        for source, target in zip(bottom, top):
            target.reshape(count, *source.dims[1:])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for source, target in zip(bottom, top):
            target.set_data(source.data_tensor.index_select(0, self._rows))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Returns the gradients to their rows, zeros to the others."""
        if propagate_down[-1]:
            raise GraphError(
                f"layer '{self.name}' (Filter) cannot backpropagate to the selector (bottom "
                f"{self._selector}); set propagate_down to false for it"
            )
        for source, target, wanted in zip(bottom, top, propagate_down):
            if wanted:
                result = torch.zeros_like(source.data_tensor)
                source.set_diff(result.index_copy_(0, self._rows, target.diff_tensor))


@register("BatchReindex")
class BatchReindex(Layer):
    """The rows of bottom 0 that bottom 1 numbers, in its order, as often as it names them.

    Bottoms: (N, …) and row numbers (M,) as float32. Top: (M, …).
    """

    bottoms = 2
    tops = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The row numbers get no gradient."""
        return bottom_index != 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """One row a number."""
        if bottom[1].ndim != 1 or not bottom[0].dims:
            raise ShapeError(
                f"layer '{self.name}' (BatchReindex): bottom 1 must have 1 axis and bottom 0 at "
                f"least 1, they have shapes {bottom[1].dims} and {bottom[0].dims}"
            )
        top[0].reshape(bottom[1].dims[0], *bottom[0].dims[1:])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self._numbers = row_numbers(self, bottom[1], bottom[0].dims[0], "bottom 0")
        top[0].set_data(bottom[0].data_tensor.index_select(0, self._numbers))

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Adds the gradients of a row's copies."""
        if propagate_down[1]:
            raise GraphError(
                f"layer '{self.name}' (BatchReindex) cannot backpropagate to the row numbers "
                "(bottom 1); set propagate_down to false for it"
            )
        if propagate_down[0]:
            result = torch.zeros_like(bottom[0].data_tensor)
            bottom[0].set_diff(result.index_add_(0, self._numbers, top[0].diff_tensor))
