"""Interleaved measurements: in each round every method trains once.

Each round begins with another method, so that a change of the machine's load affects all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from dualnet.bench.network.link import Link
from dualnet.bench.peers.methods import Method

__all__ = ["HOPELESS", "Entry", "hopeful", "rounds"]

#: How far behind the best number of micro-batches of its family one has to be in the first round,
#: not to be tried again.
HOPELESS = 1.25

#: What a raw line says of an arena, the methods that run there, and their link.
Entry = tuple[Mapping[str, Any], Mapping[str, Method], Optional[Link]]


def rounds(
    entries: list[Entry], count: int, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Train with every method, round by round.

    Args:
        entries: The arenas; each ends a round before the next one begins it.
        count: Rounds.
        say: Takes a line on every training, with an estimate of the time left.

    Yields:
        A raw line for each training, times in milliseconds.
    """
    names = [list(methods) for _, methods, _ in entries]
    took_s: dict[tuple[int, str], float] = {}
    for number in range(count):
        for place, (facts, methods, link) in enumerate(entries):
            order = names[place]
            shift = number % len(order)
            first: dict[str, float] = {}
            for turn, name in enumerate([*order[shift:], *order[:shift]]):
                method = methods[name]
                load, began_s = os.getloadavg()[0], time.monotonic()
                before = link.carried() if link else None
                timed = method.train()
                after = link.carried() if link else None
                took_s[place, name] = time.monotonic() - began_s
                first[name] = timed.iteration_s
                # The method's name is under `contender`, as in all raw lines of earlier versions.
                line = {
                    **facts, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "load": round(load, 2), "round": number + 1, "contender": name,
                    "iteration_ms": round(timed.iteration_s * 1e3, 3),
                    "cpu_ms": [round(one * 1e3, 2) for one in timed.cpu_s],
                }  # fmt: skip
                if before and after:
                    carrying_s = (after.cpu_s - before.cpu_s) / method.iterations
                    line["link_cpu_ms"] = round(carrying_s * 1e3, 2)
                yield line
                ahead = len(order) - turn - 1
                say(
                    f"round {number + 1} of {count}: {facts['pieces']} pieces, {name}: "
                    f"{timed.iteration_s * 1e3:.1f} ms; "
                    f"some {_left_s(names, took_s, place, ahead, count - number - 1):.0f} s left"
                )
            if number == 0:
                families = {name: methods[name].family for name in order}
                names[place] = hopeful(first, families)


def _left_s(
    names: list[list[str]],
    took_s: Mapping[tuple[int, str], float],
    place: int,
    ahead: int,
    more: int,
) -> float:
    """What the trainings to come take, each as long as the mean of those before."""
    mean_s = sum(took_s.values()) / len(took_s)
    others = [len(names[later]) for later in range(place + 1, len(names))]
    return mean_s * (ahead + sum(others) + more * sum(map(len, names)))


def hopeful(times_s: Mapping[str, float], families: Mapping[str, str]) -> list[str]:
    """The methods of the next round: the times of the first one decide, within each family."""
    best_s: dict[str, float] = {}
    for name, family in families.items():
        best_s[family] = min(times_s[name], best_s.get(family, times_s[name]))
    return [name for name in families if times_s[name] <= HOPELESS * best_s[families[name]]]
