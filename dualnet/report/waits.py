"""Who waits for whom, in words."""

from __future__ import annotations

from collections.abc import Mapping

from dualnet.config.chain import number_of
from dualnet.report.durations import in_time

__all__ = ["LONG_S", "in_words"]

#: A wait of so many seconds is worth a word: where pieces alternate, most wait all the time.
LONG_S = 5.0
#: More pieces than these are counted, not named.
_MOST_NAMED = 3


def in_words(waits: Mapping[str, tuple[str, float]]) -> str:
    """As "net1 waits for net2, net2 for net3, 12 s"; "" if nobody has waited for long.

    Args:
        waits: Each piece to the one that it waits for, "" if it does not, and for how many seconds.
    """
    long = {piece: awaited for piece, (awaited, s) in waits.items() if awaited and s >= LONG_S}
    if not long:
        return ""
    if len(long) <= _MOST_NAMED:
        (first, awaited), *others = long.items()
        pairs = [f"{first} waits for {awaited}", *(f"{one} for {two}" for one, two in others)]
        words = ", ".join(pairs)
    else:
        # Whoever holds up the others waits for nobody.
        ends = sorted(set(long.values()) - set(long), key=number_of)
        words = f"{len(long)} pieces wait, in the end for {' and '.join(ends) or 'each other'}"
    return f"{words}, {in_time(max(waits[piece][1] for piece in long))}"
