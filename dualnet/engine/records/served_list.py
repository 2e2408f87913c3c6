"""The order in which a data layer serves the lines of its list, again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from dualnet.engine.errors import DataError
from dualnet.engine.formats.regular_file import regular_only

__all__ = ["ServedList", "read_lines"]

T = TypeVar("T")


def read_lines(name: str, field: str, source: str) -> list[str]:
    """The lines of a layer's list.

    Args:
        name: the layer's.
        field: of its message, that names the list.
        source: the file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(
            source, encoding="utf-8", errors="surrogateescape", opener=regular_only
        ) as stream:
            return stream.read().split("\n")
    except OSError as error:
        raise DataError(
            f"layer '{name}': cannot read {field} '{source}': {error.strerror} (the working "
            f"directory is '{os.getcwd()}')"
        ) from error


class ServedList(Generic[T]):
    """A list from its first line, or one that is drawn, to its end and again from the beginning.

    Args:
        name: the layer's.
        param: its message, with `source`, `shuffle` and `rand_skip`.
        entries: the lines.
        draw: its random numbers; None if it needs none.

    Raises:
        DataError: `rand_skip` drew more lines than there are.
    """

    def __init__(
        self, name: str, param: Any, entries: list[T], draw: np.random.Generator | None
    ) -> None:
        self._entries = entries
        self._draw = draw if param.shuffle else None
        self._shuffle()
        self._start = 0
        if param.rand_skip and draw is not None:
            self._start = int(draw.integers(param.rand_skip))
        if self._start >= len(entries):
            raise DataError(
                f"layer '{name}': not enough points to skip: rand_skip {param.rand_skip} drew "
                f"{self._start}, '{param.source}' lists {len(entries)}; lower rand_skip"
            )

    @property
    def first(self) -> T:
        """The line that is served first."""
        return self._entries[self._start]

    def endless(self) -> Iterator[T]:
        """The lines one after the other without end; each round in another order if shuffled."""
        first = self._start
        while True:
            yield from self._entries[first:]
            first = 0
            self._shuffle()

    def _shuffle(self) -> None:
        if self._draw is not None:
            order = self._draw.permutation(len(self._entries))
            self._entries = [self._entries[k] for k in order]
