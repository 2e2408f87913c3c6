"""Blobs: the arrays with gradients that layers exchange (Caffe `include/caffe/blob.hpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.core import device
from dualnet.engine.core.storage import Shape, Storage
from dualnet.engine.errors import DeviceError, ShapeError

__all__ = ["Blob", "BlobVec", "IntVec"]

_MAX_COUNT = 2**31 - 1  # Caffe counts in 32-bit integers


class IntVec(list[int]):
    """A sequence of integers, as pycaffe returns shapes."""


class Blob:
    """N-dimensional float32 data with a gradient of the same shape.

    Users read and write `data` and `diff`, NumPy arrays that alias the blob. Layers use
    `data_tensor`, `diff_tensor`, `set_data`, `set_diff` and `add_diff`.
    """

    __slots__ = ("__weakref__", "_data", "_diff", "_shape")

    def __init__(self, shape: Sequence[int] = ()) -> None:
        self._shape: Shape = ()
        self._data = Storage()
        self._diff = Storage()
        self.reshape(*shape)

    # Shape

    @property
    def shape(self) -> IntVec:
        """The dimensions, outermost first."""
        return IntVec(self._shape)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions as a tuple, for use inside the engine."""
        return self._shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._shape)

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self._shape)

    def reshape(self, *dims: int) -> None:
        """Changes the shape; values survive where they still fit.

        Raises:
            ShapeError: a dimension is negative, or the count exceeds Caffe's limit of 2**31 - 1.
        """
        if dims == self._shape:
            return
        try:
            shape = tuple(int(d) for d in dims)
        except (TypeError, ValueError):
            raise TypeError(
                f"Blob.reshape{dims!r}: each dimension is an argument of its own, and an integer: "
                "reshape(1, 3, 224, 224), or reshape(*shape)"
            ) from None
        if any(d < 0 for d in shape) or math.prod(shape) > _MAX_COUNT:
            raise ShapeError(
                f"shape {shape} is not possible for a blob: dimensions must be 0 or more and "
                f"their product at most {_MAX_COUNT}"
            )
        self._shape = shape

    def reshape_like(self, other: Blob) -> None:
        """Takes the shape of another blob."""
        self._shape = other._shape

    @property
    def num(self) -> int:
        """Axis 0 of a blob with at most four axes, 1 where it lacks the axis."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Axis 1 of a blob with at most four axes, 1 where it lacks the axis."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Axis 2 of a blob with at most four axes, 1 where it lacks the axis."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Axis 3 of a blob with at most four axes, 1 where it lacks the axis."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ShapeError(
                f"num, channels, height and width need at most 4 axes, this blob has "
                f"{len(self._shape)}: {self._shape}; use shape"
            )
        return self._shape[axis] if axis < len(self._shape) else 1

    # The user's side

    @property
    def data(self) -> np.ndarray:
        """The values: a writable C-contiguous float32 array that aliases the blob."""
        return self._data.array(self._shape)

    @property
    def diff(self) -> np.ndarray:
        """The gradient: a writable C-contiguous float32 array that aliases the blob."""
        return self._diff.array(self._shape)

    @property
    def _gpu_data_ptr(self) -> int:
        """The device address of the values, C-contiguous; valid until the next pass."""
        return _address(self._data, self._shape, "_gpu_data_ptr", "data")

    @property
    def _gpu_diff_ptr(self) -> int:
        """The device address of the gradient, C-contiguous; valid until the next pass."""
        return _address(self._diff, self._shape, "_gpu_diff_ptr", "diff")

    # The user's side, beyond pycaffe: without a live array, so that nothing is copied in vain.

    def read_data(self) -> np.ndarray:
        """The values, C-contiguous float32, for use before the next pass; see `Storage.values`."""
        return self._data.values(self._shape)

    def read_diff(self) -> np.ndarray:
        """The gradient, as `read_data`."""
        return self._diff.values(self._shape)

    def write_data(self, values: np.ndarray) -> None:
        """Overwrites the values with float32 ones of the blob's shape; see `Storage.overwrite`."""
        self._data.overwrite(self._shape, values)

    def write_diff(self, values: np.ndarray) -> None:
        """Overwrites the gradient, as `write_data`."""
        self._diff.overwrite(self._shape, values)

    # The layers' side

    @property
    def data_tensor(self) -> Tensor:
        """The values as a float32 tensor of the blob's shape and of any strides."""
        return self._data.tensor(self._shape)

    @property
    def diff_tensor(self) -> Tensor:
        """The gradient as a float32 tensor of the blob's shape and of any strides."""
        return self._diff.tensor(self._shape)

    def data_in(self, memory_format: torch.memory_format) -> Tensor:
        """The values in a memory format; the blob keeps them so unless others see its memory."""
        return self._data.relayout(self._shape, memory_format)

    def diff_in(self, memory_format: torch.memory_format) -> Tensor:
        """The gradient in a memory format; see `data_in`."""
        return self._diff.relayout(self._shape, memory_format)

    def set_data(self, values: Tensor) -> None:
        """Publishes new values; the blob owns the tensor from now on.

        Args:
            values: a float32 tensor with as many values as the blob, in the blob's order.

        Raises:
            ShapeError: the number of values differs.
        """
        self._data.bind(self._fitting(values))

    def set_diff(self, values: Tensor) -> None:
        """Publishes a new gradient; the blob owns the tensor from now on. See `set_data`."""
        self._diff.bind(self._fitting(values))

    def detach_data(self) -> Tensor:
        """Takes the values out, so that the next `set_data` does not overwrite them.

        For a layer that computes in place and needs its input for backward; `set_data` must follow.
        """
        return self._data.detach(self._shape)

    def alias_data(self, values: Tensor) -> None:
        """Uses caller-owned memory as values, without a copy, until the next `set_data`.

        MemoryData serves users' arrays so.
        """
        self._data.alias(self._fitting(values))

    def add_diff(self, values: Tensor) -> None:
        """Adds to the gradient, as parameter gradients must; see `set_data`."""
        values = self._fitting(values)
        self._diff.add(values if values.shape == self._shape else values.reshape(self._shape))

    def clear_diff(self) -> None:
        """Sets the gradient to zero."""
        self._diff.clear()

    def drop_data(self) -> None:
        """Releases the values, so that their memory can hold the result; `set_data` must follow.

        Not where the layer's input is the same blob: it would be gone before it is read.
        """
        self._data.drop()

    def drop_diff(self) -> None:
        """Releases the gradient's memory for a result; `set_diff` must follow. See `drop_data`."""
        self._diff.drop()

    def share_data(self, other: Blob) -> None:
        """Uses the other blob's values from now on: each sees what the other writes."""
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        """Uses the other blob's gradient from now on."""
        self._diff = other._diff

    def _fitting(self, values: Tensor) -> Tensor:
        if values.shape != self._shape and values.numel() != self.count:
            raise ShapeError(
                f"a result of shape {tuple(values.shape)} does not fit a blob of shape "
                f"{self._shape}; the layer's reshape must set the shape of its tops"
            )
        return values

    def __repr__(self) -> str:
        return f"Blob(shape={self._shape})"


class BlobVec(list[Blob]):
    """A layer's parameters; `add_blob` appends one, as Python layers do in `setup`."""

    def add_blob(self, *dims: int) -> Blob:
        """Appends a blob of the given dimensions (none: a scalar) and returns it."""
        blob = Blob(dims)
        self.append(blob)
        return blob


def _address(storage: Storage, shape: Shape, name: str, instead: str) -> int:
    if device.current().type != "cuda":
        raise DeviceError(
            f"{name}: the blob is on the {device.current().type.upper()}, where it has no "
            f"device address; call set_mode_gpu() first, or use {instead}"
        )
    return storage.relayout(shape, torch.contiguous_format).data_ptr()
