"""Which chain to take under a schedule, and whether any is worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from dualnet.cut.plan.chains import TOLERANCE, Chain
from dualnet.cut.plan.units import mib, ms

__all__ = ["Choice", "SingleNet", "choose"]

#: What a chain has to save of the single net's time, or memory, to be worth its processes.
_WORTH_TIME = 0.05
_WORTH_MEMORY = 0.10


@dataclass(frozen=True)
class SingleNet:
    """The single net, for comparison.

    Attributes:
        seconds: Of an iteration.
        memory_bytes: Blobs, weights and solver history.
    """

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Choice:
    """What is best under one schedule.

    Attributes:
        schedule: Its name.
        chain: The best chain; None where there is none (that fits).
        helps: Whether it is better than the single net.
        reason: Why, or why not.
    """

    schedule: str
    chain: Optional[Chain]
    helps: bool
    reason: str


def choose(
    schedule: str,
    pieces: int,
    fastest: Optional[Chain],
    smallest: Optional[Chain],
    single: SingleNet,
    limit_bytes: Optional[int] = None,
) -> Choice:
    """The chain that is faster than the single net, or needs less memory; if there is one.

    Alternating pieces work one at a time, so that time is no reason to cut: the fastest cut would
    leave one piece almost empty. There memory decides, and time between cuts of similar memory.

    Args:
        schedule: Its name.
        pieces: Of the chains.
        fastest: Of those that fit; None if none does.
        smallest: That of least memory; None if the net cannot be cut so.
        single: The single net.
        limit_bytes: Memory for each piece.
    """
    into = f"into {pieces} pieces" if pieces > 2 else "in two"
    if smallest is None:
        return Choice(schedule, None, False, f"the net cannot be cut {into}")
    least = smallest.outcomes[schedule]
    if fastest is None:
        return Choice(
            schedule, None, False,
            f"no chain of {pieces} pieces fits into {mib(limit_bytes or 0)} MiB: the largest piece "
            f"needs {mib(least.largest_bytes)} MiB or more; take more pieces, or smaller batches",
        )  # fmt: skip
    fast = fastest.outcomes[schedule]
    speed = (
        f"{ms(fast.seconds)} ms an iteration, {single.seconds / fast.seconds:.2f} times the speed"
    )
    if limit_bytes is not None and single.memory_bytes > limit_bytes:
        return Choice(
            schedule, fastest, True,
            f"the single net needs {mib(single.memory_bytes)} MiB, and {mib(limit_bytes)} are "
            f"there; this chain is the fastest that fits: {speed} of the single net",
        )  # fmt: skip
    if schedule != "alternating" and fast.seconds <= (1 - _WORTH_TIME) * single.seconds:
        return Choice(
            schedule, fastest, True,
            f"the fastest chain: {speed} of the single net; its largest piece needs "
            f"{mib(fast.largest_bytes)} MiB, the single net {mib(single.memory_bytes)}",
        )  # fmt: skip
    saved = 1 - least.largest_bytes / single.memory_bytes
    if limit_bytes is None and saved >= _WORTH_MEMORY:
        return Choice(
            schedule, smallest, True,
            f"its largest piece needs {mib(least.largest_bytes)} MiB, {saved:.0%} less than the "
            f"single net; an iteration takes {ms(least.seconds)} ms, the least of chains with "
            f"similar memory (within {TOLERANCE:.0%}), the single net's {ms(single.seconds)}",
        )  # fmt: skip
    memory = (
        f"the single net fits into {mib(limit_bytes)} MiB"
        if limit_bytes is not None
        else f"the largest piece needs {mib(least.largest_bytes)} MiB or more, the single net "
        f"{mib(single.memory_bytes)}"
    )
    return Choice(
        schedule, fastest, False,
        f"no cut helps: {memory}, and an iteration takes {ms(fast.seconds)} ms or more, the single "
        f"net's {ms(single.seconds)}",
    )  # fmt: skip
