"""HDF5 files, read and written so that what is wrong with one comes out as one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dualnet.engine.errors import CaffeError, DataError, WeightsError

__all__ = ["h5py_module", "read_values", "reading", "writing"]


def h5py_module() -> Any:
    """The package h5py, or DataError that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise DataError("HDF5 files need the package h5py; install it with pip") from error
    return h5py


@contextlib.contextmanager
def reading(path: str) -> Iterator[Any]:
    """Opens a file of weights for reading.

    Args:
        path: the file.

    Raises:
        WeightsError: it cannot be read, or lacks what the block looks for.
    """
    h5py = h5py_module()
    try:
        stream = h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"cannot read '{path}' as HDF5: {error}") from error
    try:
        with stream:
            yield stream
    except CaffeError:
        raise
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        # h5py's own; a group where a dataset should be is an AttributeError or a TypeError.
        words = " ".join(str(error).split()).strip("'\"")
        raise WeightsError(f"'{path}' is damaged, or no such file of weights: {words}") from error


def read_values(dataset: Any, dims: tuple[int, ...], where: str) -> np.ndarray:
    """Reads numbers of a known shape; a file that states another one costs no memory.

    Args:
        dataset: the dataset.
        dims: the shape that the reader needs.
        where: names the place, for the message.

    Returns:
        A new float32 array of that shape, C-contiguous.

    Raises:
        WeightsError: the stored shape differs.
    """
    if tuple(dataset.shape) != dims:
        raise WeightsError(
            f"{where}: the stored shape is {tuple(dataset.shape)}, the one needed is {dims}"
        )
    return np.array(dataset, dtype=np.float32, order="C")


@contextlib.contextmanager
def writing(path: str) -> Iterator[Any]:
    """Opens a new file for writing; it appears under its name when it is complete.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be written.
    """
    h5py = h5py_module()
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with h5py.File(temporary, "w") as stream:
            yield stream
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        words = error.strerror or " ".join(str(error).split())
        raise DataError(f"cannot write '{path}': {words}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
