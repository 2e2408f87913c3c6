"""Exceptions of the engine: one line each, naming the place, both values and the remedy.

BVLC Caffe aborts the process in most of these cases; the engine raises instead. All derive from
`RuntimeError`, which is what pycaffe raises for the few errors that it does report.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "CaffeError",
    "DataError",
    "DeviceError",
    "GraphError",
    "InputArrayError",
    "PrototxtError",
    "ShapeError",
    "SolverError",
    "UnknownLayerError",
    "UnknownNameError",
    "UnsupportedError",
    "WeightsError",
    "naming",
    "quoted",
]


class CaffeError(RuntimeError):
    """Base of every error that the engine raises on purpose."""


class PrototxtError(CaffeError, ValueError):
    """A prototxt (or binary) file is missing, cannot be parsed, or holds a wrong value."""


class UnknownLayerError(PrototxtError):
    """A layer type that no registered class implements."""


class GraphError(CaffeError, ValueError):
    """Layers and blobs do not fit together: an unknown bottom, a duplicate top, a wrong count."""


class ShapeError(CaffeError, ValueError):
    """Two shapes that must agree do not."""


class UnknownNameError(CaffeError, ValueError):
    """A layer or blob name that the net does not have."""


class InputArrayError(CaffeError):
    """`set_input_arrays` was given arrays that the first layer cannot take."""


class DataError(CaffeError):
    """A data source cannot be read, or holds something other than expected."""


class WeightsError(CaffeError, ValueError):
    """Stored weights do not fit the net that should take them."""


class SolverError(CaffeError, ValueError):
    """A solver setting is missing or contradicts another."""


class DeviceError(CaffeError):
    """The chosen device is not available."""


class UnsupportedError(CaffeError, NotImplementedError):
    """A combination that Caffe itself does not implement either."""


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the net's file before an UnknownLayerError."""
    try:
        yield
    except UnknownLayerError as error:
        raise UnknownLayerError(f"{os.fspath(path)}: {error}") from error


def quoted(names: Iterable[str]) -> str:
    """Joins names for an error message: `'a', 'b'`, or `none`."""
    return ", ".join(f"'{name}'" for name in names) or "none"
