"""The files of a run directory and of its exchange, from the modules that name and write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

from dualnet import rundir
from dualnet.exchange import paths
from dualnet.exchange.files import npy
from generators.markdown import block

__all__ = ["write", "write_exchange", "write_trailer"]

_TREE = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TRAILER = re.compile(r"^Trailer[^\n]*:\n((?: {4}[^\n]*\n)+)", re.MULTILINE)


def write() -> Iterator[str]:
    """The files of a run directory."""
    yield from _found(rundir, _TREE)


def write_exchange() -> Iterator[str]:
    """The files of the folder `exchange`."""
    yield from _found(paths, _TREE)


def write_trailer() -> Iterator[str]:
    """The bytes at the end of each array's file."""
    yield from _found(npy, _TRAILER)


def _found(module: ModuleType, pattern: re.Pattern[str]) -> Iterator[str]:
    """What a module's docstring has of this form.

    Raises:
        LookupError: It has nothing of it.
    """
    found = pattern.search(module.__doc__ or "")
    if found is None:
        raise LookupError(f"{module.__name__}: its docstring has no table of files or bytes")
    yield from block(found[1])
