"""Checks of the arguments of pycaffe's functions, before a wrong type fails deep inside.

Boost.Python, which makes BVLC Caffe's functions, raises TypeErrors that list the signatures. Those
raised here name the call, the argument, its value and what would be right.
"""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np

__all__ = ["blob_names", "file_name", "fill", "integer"]


def file_name(value: Any, call: str, argument: str) -> Any:
    """The value, if it can name a file.

    Args:
        value: what was given.
        call: the call, as `Net(network_file, phase)`.
        argument: its name there.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, (str, bytes, os.PathLike)):
        return value
    raise TypeError(f"{call}: {argument} is {_shown(value)}, and it names a file: give a string")


def integer(value: Any, call: str, argument: str) -> int:
    """The value as an int, if it is a whole number of any kind but float, as in Boost.Python.

    Raises:
        TypeError: it is something else.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{call}: {argument} is {_shown(value)}, and an integer is needed"
        ) from None


def blob_names(call: str, argument: str, names: Any) -> None:
    """Refuse what is no list of names where one is wanted, an array of inputs for instance."""
    if names is None:
        return
    if isinstance(names, (str, bytes)):
        raise TypeError(
            f"Net.{call}({argument}={names!r}): a list of blob names is needed: [{names!r}]"
        )
    if isinstance(names, np.ndarray):
        raise TypeError(
            f"Net.{call}(…): the first argument is an array of shape {names.shape}, and a list of "
            f"blob names is needed; give inputs by name, as {call}(data=array)"
        )


def fill(call: str, name: str, place: np.ndarray, values: Any) -> None:
    """Copies values into a blob's array, with NumPy's broadcasting.

    Raises:
        ValueError: their shape does not fit.
    """
    try:
        place[...] = values
    except ValueError as error:
        raise ValueError(
            f"{call}: shape {np.shape(values)} does not fit blob '{name}' of shape {place.shape}: "
            f"{error}; give that shape, or reshape the blob and the net first"
        ) from error


def _shown(value: Any) -> str:
    """A value in a line."""
    text = repr(value)
    if len(text) > 60 or "\n" in text:
        shape = getattr(value, "shape", None)
        of = f" of shape {tuple(shape)}" if shape is not None else ""
        return f"of type {type(value).__name__}{of}"
    return text
