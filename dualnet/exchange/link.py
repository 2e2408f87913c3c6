"""A link joins two neighbouring pieces of a chain; everything that the two exchange belongs to it.

net1 ---- net1-net2 ---- net2 ---- net2-net3 ---- net3
 lower end           upper  lower             upper
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dualnet.errors import UsageError

__all__ = ["ENDS", "Link", "check_piece"]

#: The ends of a link; the index of one is its byte in files and greetings, and gloo's rank.
ENDS = ("lower", "upper")

_PIECE = re.compile(r"net[1-9][0-9]{0,3}")


def check_piece(piece: str) -> str:
    """Return `piece` if it is the name of one that has neighbours.

    Raises:
        UsageError: it is not.
    """
    if not _PIECE.fullmatch(piece):
        raise UsageError(f"piece {piece!r}: expected net1, net2, net3, …")
    return piece


@dataclass(frozen=True)
class Link:
    """What joins two neighbouring pieces.

    Args:
        lower: the piece nearer to the data.
        upper: the piece nearer to the loss.

    Raises:
        UsageError: no two pieces have these names.
    """

    lower: str
    upper: str

    def __post_init__(self) -> None:
        if check_piece(self.lower) == check_piece(self.upper):
            raise UsageError(f"link {self.name}: a piece has no link to itself")

    @classmethod
    def parse(cls, name: str) -> Link | None:
        """The link of this name; None if it is the name of none."""
        lower, _, upper = name.partition("-")
        try:
            return cls(lower, upper)
        except UsageError:
            return None

    @property
    def name(self) -> str:
        """As "net1-net2": the name of its folder, too."""
        return f"{self.lower}-{self.upper}"

    @property
    def index(self) -> int:
        """Its place in the chain, 0 for net1-net2."""
        return int(self.lower[len("net") :]) - 1

    def other(self, piece: str) -> str:
        """The piece at the other end.

        Raises:
            UsageError: `piece` is at neither.
        """
        return self.lower if self.end(piece) == "upper" else self.upper

    def end(self, piece: str) -> str:
        """The end at which `piece` is, one of `ENDS`.

        Raises:
            UsageError: it is at neither.
        """
        if piece not in (self.lower, self.upper):
            raise UsageError(f"link {self.name}: {piece} is at neither end")
        return "lower" if piece == self.lower else "upper"

    def kind(self, record: str) -> str:
        """The kind that a record of this link is sealed as: one of another link is refused."""
        return f"{record} of {self.name}"
