"""Memory behind a blob: one tensor that layers rebind freely, and NumPy views that stay live.

Layers publish a result by binding its tensor: nothing is copied and the tensor may have any strides
(channels-last outputs flow from layer to layer unconverted). Users, on the other hand, expect from
pycaffe that an array taken from a blob *is* the blob's memory. Both hold, because the storage knows
whether anybody still has such an array: NumPy views keep the array that they were cut from alive,
and the storage keeps a weak reference to that one base array. As long as that is alive, results are
copied into it; otherwise they are rebound.

On the CPU the base array and the tensor share memory. On a GPU the array is a host copy: taking it
downloads the values and marks the host as possibly changed, so the next use on the device uploads
them again (Caffe's `mutable_cpu_data`). Arrays held for longer are synchronised when forward,
backward and update calls begin and end, in both directions.

The states of a storage:

| state    | `_tensor` | `_base` | `_host` | reached by                                           |
|----------|-----------|---------|---------|------------------------------------------------------|
| zeros    | None      | dead    | None    | construction, `clear` or `drop` without a live array |
| values   | set       | dead    | None    | `bind`, `tensor`; the user's last view is gone       |
| held     | set       | alive   | None    | `array` on the CPU; on a GPU by the upload           |
| host     | any, old  | alive   | set     | `array` on a GPU; begin of a call with a held array  |
| borrowed | set       | any     | None    | `alias`, until `bind`; `_borrowed` is True           |

Only in "values" may the tensor be dropped, reordered or handed out: in "held" and "borrowed"
somebody else sees its memory, and in "host" it is out of date until `tensor` uploads.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.core import device

__all__ = ["Shape", "Storage", "sync_host_arrays"]

Shape = tuple[int, ...]

# Storages on a GPU that have handed out a host array; `sync_host_arrays` goes through them.
_shared_with_numpy: weakref.WeakSet[Storage] = weakref.WeakSet()
_depth = 0


class Storage:
    """Float32 values without a fixed shape; several blobs may share one storage.

    A storage without a tensor stands for zeros: clearing a gradient costs nothing, and the first
    gradient added afterwards is bound instead of added.
    """

    __slots__ = ("__weakref__", "_base", "_borrowed", "_host", "_tensor")

    def __init__(self) -> None:
        self._tensor: Tensor | None = None
        self._base: weakref.ref[np.ndarray] | None = None  # flat; alive while a user has a view
        self._host: np.ndarray | None = None  # set while the host copy may be newer (GPU only)
        self._borrowed = False  # the tensor is caller-owned: neither replace nor reorder it

    def tensor(self, shape: Shape) -> Tensor:
        """The values as a tensor on the current device that aliases this storage.

        Args:
            shape: the shape wanted. Where the storage holds more values, the first ones are meant;
                where it holds fewer, fresh zeros replace them, as when Caffe's blobs grow.

        Returns:
            A float32 tensor of that shape, of any strides.
        """
        if self._host is not None:
            self._upload(self._host)
        t = self._tensor
        if t is None:  # zeros so far: here they take memory
            t = self._tensor = torch.zeros(shape, dtype=torch.float32, device=device.current())
            return t
        if t.device != device.current():  # set_mode_cpu or set_mode_gpu was called since
            t = self._move(t)
        if t.shape == shape:
            return t
        return self._reshaped(t, shape)

    def bind(self, values: Tensor) -> None:
        """Makes these values the content, without copying unless a user holds an array of it.

        The storage owns the tensor from now on: the caller must neither keep it for writing nor
        pass memory that belongs to another storage (share the storage instead).

        Without a live array of a user, and on a GPU, only the reference changes. On the CPU with a
        live array the values are copied into that, so that the user's view stays valid; if it is
        too small for them, it is given up, as Caffe gives up a blob's memory when that grows.
        """
        self._borrowed = False
        base = self._live_base()
        if base is None:
            self._tensor, self._host = values, None
        elif values.is_cuda:
            self._tensor, self._host = (
                values,
                None,
            )  # the array follows when the call ends
        elif base.size < values.numel():
            self._tensor, self._base, self._host = values, None, None
        else:
            # Wrapping the base in a tensor would keep it alive for ever; ours is the same memory.
            t = self._tensor
            t = self._adopt(base) if t is None or t.is_cuda else t
            t.view(-1)[: values.numel()].view(values.shape).copy_(values)
            self._host = None

    def detach(self, shape: Shape) -> Tensor:
        """Takes the values out, so that the next `bind` does not overwrite them; call it next.

        For layers that compute in place but need their input again. The tensor itself is returned
        where nobody else sees it; a clone where a user's array, a caller's memory or a larger
        storage would let the result through.
        """
        t = self.tensor(shape)
        if self._live_base() is not None or self._borrowed or t is not self._tensor:
            return t.clone()
        self._tensor = None
        return t

    def alias(self, values: Tensor) -> None:
        """Uses caller-owned memory as the values until the next `bind`: each sees what the other
        writes.
        """
        self._tensor, self._base, self._host, self._borrowed = values, None, None, True

    def add(self, values: Tensor) -> None:
        """Adds values; after `clear` the first ones are bound instead."""
        if self._tensor is None and self._host is None:
            self.bind(values)
        else:
            self.tensor(tuple(values.shape)).add_(values)

    def clear(self) -> None:
        """Sets everything to zero; without a live user array by dropping the tensor alone."""
        if self._live_base() is not None and self._tensor is not None:
            self._tensor.zero_()
            self._host = None
        else:
            self._tensor = self._base = self._host = None

    def drop(self) -> None:
        """Releases values that are about to be replaced, so that the result can have their memory.

        Called before a layer computes, this saves one large buffer at the peak: the allocator hands
        the freed block to the result. Nothing happens where a user holds an array of the values,
        or a caller owns them.
        """
        if self._live_base() is None and not self._borrowed:
            self._tensor = self._base = self._host = None

    def relayout(self, shape: Shape, memory_format: torch.memory_format) -> Tensor:
        """The values in a memory format, kept so where no user's array fixes the order.

        Args:
            shape: (N, C, H, W).
            memory_format: `torch.channels_last` or `torch.contiguous_format`.
        """
        t = self.tensor(shape)
        if t.is_contiguous(memory_format=memory_format):
            return t
        converted = t.contiguous(memory_format=memory_format)
        # Kept only if nobody else sees the memory, and if the blob is the whole of it: the values
        # after a shrunk blob's last would be lost.
        free = self._live_base() is None and not self._borrowed
        if free and self._tensor is not None and self._tensor.numel() == converted.numel():
            self._tensor = converted
        return converted

    def array(self, shape: Shape) -> np.ndarray:
        """The values as a C-contiguous array that stays live while anybody holds it.

        Args:
            shape: the shape wanted; see `tensor`.

        Returns:
            A writable float32 array of that shape.
        """
        if device.current().type != "cpu":
            return self._host_array(shape)
        base = self._live_base()
        t = self._tensor
        # A base is handed out again as long as the tensor is the same memory, which a change of
        # mode ends.
        aliased = t is not None and t.device.type == "cpu" and self._host is None
        if base is None or base.size < math.prod(shape) or not aliased:
            t = self.tensor(shape)
            if not t.is_contiguous():
                t = self._tensor = t.contiguous()
            # The base covers the whole storage, of which t may be the first part: views that are
            # taken later for a larger shape must be views of the same array.
            whole = t if self._tensor is None else self._tensor
            base = whole.view(-1).numpy()
            self._base = weakref.ref(base)
        return base[: math.prod(shape)].reshape(shape)

    def values(self, shape: Shape) -> np.ndarray:
        """The values to read at once: C-contiguous, perhaps the storage's own memory.

        Unlike `array` this hands out nothing that stays live: the tensor keeps its order, and on a
        GPU nothing counts as changed by the host and has to be uploaded again.

        Args:
            shape: the shape wanted; see `tensor`.
        """
        if self._host is not None:
            return self.array(shape)
        return self.tensor(shape).cpu().contiguous().numpy()

    def overwrite(self, shape: Shape, values: np.ndarray) -> None:
        """Copies a user's values in, as `array(shape)[...] = values` does, but hands out no array.

        Where nobody else sees the tensor, they go straight into it, in its order and on its device.

        Args:
            shape: the shape wanted; see `tensor`.
            values: as many, float32.
        """
        t = self._tensor
        ours = self._live_base() is None and self._host is None and not self._borrowed
        if not ours or t is None or t.shape != shape or t.device != device.current():
            self.array(shape)[...] = values
        elif t.is_cuda:
            t.copy_(torch.from_numpy(np.require(values, np.float32, ["C", "W"])))
        else:
            np.copyto(t.numpy(), values)

    def _live_base(self) -> np.ndarray | None:
        return None if self._base is None else self._base()

    def _reshaped(self, t: Tensor, shape: Shape) -> Tensor:
        """The values in another shape, as Caffe's Blob::Reshape leaves them.

        A smaller shape is a view of the first values, so that a blob which shrinks and grows again
        (a last, smaller batch) finds its memory as it was. A larger one takes new memory of zeros;
        the old values, and the arrays that users hold of them, are given up.
        """
        count = math.prod(shape)
        if count > t.numel():
            self._base = None
            self._tensor = torch.zeros(shape, dtype=torch.float32, device=t.device)
            return self._tensor
        if not t.is_contiguous():
            t = self._tensor = t.contiguous()
        if count < t.numel():
            return t.view(-1)[:count].view(shape)
        self._tensor = t.view(shape)
        return self._tensor

    def _move(self, t: Tensor) -> Tensor:
        """Brings the values to the current device after a change of mode."""
        self._tensor = t.to(device.current()).contiguous()
        base = self._live_base()
        if base is not None:
            if self._tensor.is_cuda:
                _shared_with_numpy.add(self)
            else:
                values = self._tensor.view(-1)[: base.size]
                self._adopt(base).copy_(values)
        return self._tensor

    def _adopt(self, base: np.ndarray) -> Tensor:
        """Makes a host array the memory, after a change from GPU to CPU while it is held."""
        self._tensor = torch.from_numpy(base)
        return self._tensor

    # Host copies of values that live on a GPU. Writes to a NumPy array cannot be observed: while a
    # user holds one, every engine call uploads it before use (`_begin`) and downloads it afterwards
    # (`_end`). Dropping the array ends that cost.

    def _host_array(self, shape: Shape) -> np.ndarray:
        count = math.prod(shape)
        if self._host is not None and self._host.size >= count:
            base = self._host
        else:
            t = self.tensor(shape)
            held = self._live_base()
            base = np.empty(count, np.float32) if held is None or held.size < count else held
            torch.from_numpy(base)[:count].view(shape).copy_(t)
        self._host, self._base = base, weakref.ref(base)
        _shared_with_numpy.add(self)
        return base[:count].reshape(shape)

    def _upload(self, host: np.ndarray) -> None:
        if device.current().type == "cpu":
            self._adopt(host)  # after a change of mode: a held array stays the blob's memory
        else:
            self._tensor = torch.from_numpy(host).to(device.current(), copy=True)
        self._host = None

    def _begin(self) -> None:
        """A held array counts as changed: the next use uploads it."""
        base = self._live_base()
        if base is None:
            _shared_with_numpy.discard(self)
        elif self._tensor is None or self._tensor.is_cuda:
            self._host = base

    def _end(self) -> None:
        """Downloads the values into a held array, unless that is the newer copy still."""
        base, t = self._live_base(), self._tensor
        if base is not None and self._host is None and t is not None and t.is_cuda:
            count = min(base.size, t.numel())
            torch.from_numpy(base)[:count].copy_(t.reshape(-1)[:count])


@contextlib.contextmanager
def sync_host_arrays() -> Iterator[None]:
    """Synchronises NumPy arrays that users hold with the GPU's memory around one engine call.

    On entry they count as changed, so that the next use uploads them; on exit they receive the
    values that the call has left. Nested calls count as one. Costs nothing on the CPU, where
    arrays and tensors are the same memory.
    """
    global _depth
    if _depth == 0:
        for storage in list(_shared_with_numpy):
            storage._begin()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            for storage in list(_shared_with_numpy):
                storage._end()
