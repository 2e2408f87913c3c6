"""Reading pickles of NumPy arrays without letting them run code.

A pickle names the functions that rebuild its objects, and an ordinary unpickler calls whatever it
names. The one here knows arrays, strings and containers, and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

__all__ = ["load_arrays"]


class _Array:
    """Stands for `numpy.ndarray` as an argument, without being a constructor to call."""


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    # As numpy's own, but always an empty array of bytes: __setstate__ fills in the rest.
    return np.ndarray((0,), np.uint8)


def _dtype(code: Any, *flags: Any) -> np.dtype:
    text = code.decode("ascii") if isinstance(code, bytes) else str(code)
    dtype = np.dtype(text)
    if dtype.hasobject or dtype.fields:
        raise pickle.UnpicklingError(f"an array of dtype {text!r} may hold any object")
    return dtype


def _frombuffer(buffer: Any, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    # How Python 3 writes bytes for Python 2 (protocols 0 to 2).
    return text.encode(encoding)


#: Replacement for each allowed (module, name). NumPy 2 renamed `core` to `_core`.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[_core + ".numeric", "_frombuffer"] = _frombuffer


class _ArrayUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Unpickles arrays and plain containers only.

    Python's own unpickler in Python: the one in C keeps a table of objects as long as the highest
    number that a pickle gives to one, and five bytes can make that 34 GB.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for an allowed name; refuse all others."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is no part of an array"
            ) from None


def load_arrays(content: bytes) -> Any:
    """Unpickle containers of numbers, strings and NumPy arrays, from Python 2 or 3.

    Args:
        content: The whole pickle.

    Returns:
        What was pickled; byte strings of Python 2 become str by latin-1.

    Raises:
        pickle.UnpicklingError: The pickle is damaged, or names anything that is not allowed.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
