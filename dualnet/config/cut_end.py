"""What one piece has to know of a cut beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from dualnet.config.chain import cut_name
from dualnet.config.schema import Config, Coupling, Cut

__all__ = ["CutEnd", "above", "below"]


@dataclass(frozen=True)
class CutEnd:
    """One piece's end of a cut.

    Attributes:
        cut: Where the net is cut.
        coupling: The rule there.
        key: The YAML's name of the cut, for messages: `cut`, or `cut2` in a longer chain.
        index: Its place among the chain's cuts, from 0.
        piece: Whose end it is.
        neighbour: The piece at the other end.
        is_lower: The piece is the one below: it sends the cut blobs up.
    """

    cut: Cut
    coupling: Coupling
    key: str
    index: int
    piece: str
    neighbour: str
    is_lower: bool

    @property
    def lower(self) -> str:
        """The piece below the cut."""
        return self.piece if self.is_lower else self.neighbour

    @property
    def upper(self) -> str:
        """The piece above the cut."""
        return self.neighbour if self.is_lower else self.piece

    @property
    def uses_dual(self) -> bool:
        """Whether the dual layers play a part: they are compared, or begin with equal weights."""
        return self.coupling.rule.compares or self.coupling.tie == "start"

    @property
    def dual(self) -> list[str]:
        """The dual layers of this piece, in forward order; [] where they play no part."""
        if not self.uses_dual:
            return []
        return list(self.cut.dual if self.is_lower else self.cut.dual.values())


def below(config: Config, name: str) -> Optional[CutEnd]:
    """The end of the cut below a piece; None for the piece with the data, and for `single`."""
    index = _index(config, name) - 1
    return _end(config, index, name, is_lower=False) if index >= 0 else None


def above(config: Config, name: str) -> Optional[CutEnd]:
    """The end of the cut above a piece; None for the piece with the labels' loss, and `single`."""
    index = _index(config, name)
    is_there = 0 <= index < len(config.cuts)
    return _end(config, index, name, is_lower=True) if is_there else None


def _index(config: Config, name: str) -> int:
    """The place of a piece in the chain, from 0; -1 for the uncut net beside it."""
    return config.names.index(name) if name in config.names else -1


def _end(config: Config, index: int, name: str, is_lower: bool) -> CutEnd:
    return CutEnd(
        cut=config.cuts[index],
        coupling=config.coupling_of(index),
        key=cut_name(index, len(config.pieces)),
        index=index,
        piece=name,
        neighbour=config.names[index + 1 if is_lower else index],
        is_lower=is_lower,
    )
