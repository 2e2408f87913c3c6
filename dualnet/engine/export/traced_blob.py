"""Blobs of which PyTorch traces what layers compute."""

from __future__ import annotations

from typing import Optional

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import UnsupportedError

__all__ = ["TracedBlob"]


class TracedBlob(Blob):
    """A blob that holds a tensor of a trace, whose sizes may be symbols for any number.

    It has no memory of its own: no user's array can alias it, and nothing is freed or reordered.

    Args:
        value: the values; None until a layer sets them.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Optional[Tensor] = None) -> None:
        super().__init__()
        self._value = value
        if value is not None:
            self._shape = tuple(value.shape)

    def reshape(self, *dims: int) -> None:
        """Changes the shape. Sizes stay symbols where they are: Blob would make numbers of them."""
        self._shape = dims

    @property
    def data(self) -> np.ndarray:
        """There is no array.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("it reads or writes a blob as an array, which PyTorch cannot trace")

    @property
    def data_tensor(self) -> Tensor:
        """The values, of the blob's shape."""
        if self._value is None:
            raise UnsupportedError("it reads a blob before anything is written to it")
        if tuple(self._value.shape) == self._shape:
            return self._value
        return self._value.reshape(self._shape)

    def set_data(self, values: Tensor) -> None:
        """Publishes new values."""
        self._value = values

    def data_in(self, memory_format: torch.memory_format) -> Tensor:
        """The values: whoever runs the program chooses the memory format."""
        return self.data_tensor

    def detach_data(self) -> Tensor:
        """The values: nothing will overwrite them."""
        return self.data_tensor

    def share_data(self, other: Blob) -> None:
        """Takes the other blob's values; no layer writes into them in place."""
        self._value = other.data_tensor

    def share_diff(self, other: Blob) -> None:
        """There are no gradients."""

    def drop_data(self) -> None:
        """There is no memory to release."""
