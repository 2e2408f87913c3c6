"""Embed: a table of vectors, looked up by number (Caffe `L/embed_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import DataError, GraphError, PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.registry import register

__all__ = ["Embed", "row_numbers"]


def row_numbers(layer: Layer, blob: Blob, rows: int, of: str) -> Tensor:
    """A blob's values as row numbers; fractions are cut off, as in Caffe.

    Args:
        layer: names the layer in the message.
        blob: float32 numbers.
        rows: how many rows there are.
        of: what has the rows, for the message.

    Returns:
        (count,) int64.

    Raises:
        DataError: a number is not that of a row. The check waits for the GPU; without it, a wrong
            number there ends in a device-side assert, after which the process cannot use the GPU.
    """
    numbers = blob.data_tensor.reshape(-1).to(torch.int64)
    if numbers.numel():
        least, most = (int(n) for n in torch.stack(numbers.aminmax()).tolist())
        if least < 0 or most >= rows:
            raise DataError(
                f"layer '{layer.name}' ({layer.type}): indices run from {least} to {most}, {of} "
                f"has rows 0 to {rows - 1}; correct the data or the size"
            )
    return numbers


@register("Embed")
class Embed(Layer):
    """The vectors of a bottom's numbers, like InnerProduct on one-hot vectors but quicker.

    Bottom: integers as float32, any shape. Top: that shape and one more axis of num_output.
    Parameters: the table (input_dim, num_output) and the bias (num_output,).
    """

    bottoms = 1
    tops = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Numbers of rows have no gradient."""
        return False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        refuse_in_place(self, bottom, top)
        param = self.layer_param.embed_param
        if not param.num_output or not param.input_dim:
            raise PrototxtError(
                f"layer '{self.name}' (Embed): embed_param needs num_output and input_dim above 0, "
                f"they are {param.num_output} and {param.input_dim}"
            )
        self._rows, self._width = param.input_dim, param.num_output
        self.add_param([self._rows, self._width], param.weight_filler)
        self._bias: bool = param.bias_term
        if self._bias:
            self.add_param([self._width], param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape(*bottom[0].dims, self._width)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self._numbers = row_numbers(self, bottom[0], self._rows, "the table")
        result = self.blobs[0].data_tensor.index_select(0, self._numbers)
        if self._bias:
            result += self.blobs[1].data_tensor
        top[0].set_data(result)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Adds each vector's gradient to its row."""
        if propagate_down[0]:
            raise GraphError(
                f"layer '{self.name}' (Embed) cannot backpropagate to its input (bottom 0); set "
                "propagate_down to false for it"
            )
        gradient = top[0].diff_tensor.reshape(-1, self._width)
        if self.wants_param(0):
            table = torch.zeros_like(self.blobs[0].data_tensor)
            self.blobs[0].add_diff(table.index_add_(0, self._numbers, gradient))
        if self._bias and self.wants_param(1):
            self.blobs[1].add_diff(gradient.sum(dim=0))
