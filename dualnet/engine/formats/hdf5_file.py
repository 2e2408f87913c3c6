"""HDF5 files, read and written with errors of one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dualnet.engine.errors import CaffeError, DataError, WeightsError
from dualnet.engine.formats.regular_file import regular_only

__all__ = [
    "ELSEWHERE",
    "h5py_module",
    "is_elsewhere",
    "member",
    "open_hdf5",
    "read_number",
    "read_text",
    "read_values",
    "reading",
    "writing",
]

#: What is wrong with a file that points into others, for messages.
ELSEWHERE = "points into another file; copy all into one file (h5repack) and check its source"
_LONGEST_TEXT = 4096


def h5py_module() -> Any:
    """The package h5py, or DataError that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise DataError("HDF5 files need the package h5py; install it with pip") from error
    return h5py


def open_hdf5(path: str) -> Any:
    """Opens an HDF5 file for reading; on a FIFO HDF5 itself would wait until somebody writes to it.

    Raises:
        OSError: it cannot be read, or is no HDF5 file.
    """
    os.close(regular_only(path, os.O_RDONLY))
    return h5py_module().File(path, "r")


def member(group: Any, name: str, where: str) -> Any:
    """An object of a group that is stored in the group's own file.

    A link into another file, or a data set whose bytes are stored in one, would put that file's
    content into the net, and from there into the next snapshot.

    Args:
        group: an open HDF5 group.
        name: of the object; a slash in it makes groups within groups, as in `inception_3a/1x1`.
        where: names the place, for the message.

    Raises:
        KeyError: there is none of that name.
        WeightsError: it is a link into another file.
    """
    for part in name.split("/"):
        if isinstance(group.get(part, getlink=True), h5py_module().ExternalLink):
            raise WeightsError(f"{where}: '{name}' {ELSEWHERE}")
        group = group[part]
    return group


@contextlib.contextmanager
def reading(path: str) -> Iterator[Any]:
    """Opens a file of weights for reading.

    Args:
        path: the file.

    Raises:
        WeightsError: it cannot be read, or the block does not find what it needs.
    """
    try:
        stream = open_hdf5(path)
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
        raise WeightsError(f"'{path}' is damaged or not a weights file: {words}") from error


def read_values(dataset: Any, dims: tuple[int, ...], where: str) -> np.ndarray:
    """Reads numbers of a known shape, which is checked before memory is taken for them.

    Args:
        dataset: the dataset.
        dims: the shape that the reader needs.
        where: names the place, for the message.

    Returns:
        A new float32 array of that shape, C-contiguous.

    Raises:
        WeightsError: the stored shape differs, or the numbers are stored in another file.
    """
    _check_inside(dataset, where)
    if tuple(dataset.shape) != dims:
        raise WeightsError(
            f"{where}: the stored shape is {tuple(dataset.shape)}, the one needed is {dims}"
        )
    return np.array(dataset, dtype=np.float32, order="C")


def read_number(dataset: Any, where: str) -> int:
    """Reads one whole number.

    Raises:
        WeightsError: there are more, or they are stored in another file.
    """
    _check_inside(dataset, where)
    if dataset.size != 1:
        raise WeightsError(f"{where} holds {dataset.size} numbers, not one")
    return int(dataset[...].reshape(-1)[0])


def read_text(dataset: Any, where: str) -> str:
    """Reads a string of at most a path's length.

    Raises:
        WeightsError: it is longer, no string, or stored in another file.
    """
    _check_inside(dataset, where)
    if dataset.size != 1 or dataset.dtype.itemsize > _LONGEST_TEXT:
        raise WeightsError(
            f"{where} takes {dataset.size} x {dataset.dtype.itemsize} bytes, expected one string "
            f"of at most {_LONGEST_TEXT}"
        )
    raw = dataset[()]
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def is_elsewhere(dataset: Any) -> bool:
    """Whether a data set's values are in other files."""
    return bool(dataset.is_virtual or dataset.external)


def _check_inside(dataset: Any, where: str) -> None:
    if is_elsewhere(dataset):
        raise WeightsError(f"{where} {ELSEWHERE}")


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
