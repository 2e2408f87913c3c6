"""The batches of one iteration: the solver's `iter_size` of them make an update.

Caffe adds up their gradients and takes the mean (solver.cpp, Normalize in sgd_solver.cpp); so does
each piece, for its own weights. Every such batch goes up and is answered by itself; schedule.py has
the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MicroBatch", "micro_batches"]


@dataclass(frozen=True)
class MicroBatch:
    """One of an iteration's batches.

    Attributes:
        iteration: Updates done before it.
        part: Which of the iteration's batches, from 0.
        parts: How many the iteration has.
    """

    iteration: int
    part: int = 0
    parts: int = 1

    @classmethod
    def numbered(cls, number: int, parts: int) -> MicroBatch:
        """The batch that comes after `number` others in all."""
        return cls(number // parts, number % parts, parts)

    @property
    def number(self) -> int:
        """Batches of the training before it."""
        return self.iteration * self.parts + self.part

    @property
    def is_first(self) -> bool:
        """Whether the iteration begins with it."""
        return self.part == 0

    @property
    def is_last(self) -> bool:
        """Whether the update comes after it."""
        return self.part == self.parts - 1

    def kind(self, name: str) -> str:
        """The kind of its message: `up`, or where an iteration has several batches `up-00002`."""
        return name if self.parts == 1 else f"{name}-{self.part:05d}"


def micro_batches(iteration: int, parts: int) -> Iterator[MicroBatch]:
    """Those of an iteration, in order."""
    return (MicroBatch(iteration, part, parts) for part in range(parts))
