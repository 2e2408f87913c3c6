"""Where the processes of a measurement run: on cores of their own, under quotas, over a link."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Optional

from dualnet.bench.network.link import ENDS, Link
from dualnet.bench.quota import Quotas
from dualnet.bench.schedules.timed_run import Place
from dualnet.errors import UsageError

__all__ = ["Arena", "arena"]


@dataclass(frozen=True)
class Arena:
    """Where a chain of some length, and what it is compared with, run.

    Attributes:
        chain: The cuts, as `dualnet.bench.cuts.parse_chain` reads them.
        places: Of each piece or stage.
        whole: Of one process with as much processor time as all of them.
        quota: Seconds of processor time a second of each piece; None: no limit.
        link: Between the two pieces; None: this machine's own.
    """

    chain: str
    places: tuple[Place, ...]
    whole: Place
    quota: Optional[float] = None
    link: Optional[Link] = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a raw line says of it."""
        return {
            "pieces": len(self.places), "cut": self.chain, "quota": self.quota,
            "threads": self.places[0].threads, "threads_whole": self.whole.threads,
            "cores_each": len(self.places[0].cores),
            "cores_shared": len(self.whole.cores) < sum(len(one.cores) for one in self.places),
        }  # fmt: skip


def arena(
    chain: str,
    cores_each: Optional[int] = None,
    quota: Optional[float] = None,
    groups: Optional[Quotas] = None,
    link: Optional[Link] = None,
) -> Arena:
    """Where a chain's processes run.

    Under a quota each process may use all cores, with as many threads as its quota can keep busy.

    Args:
        chain: Its cuts.
        cores_each: Cores of each piece; None: an equal share.
        quota: Of each piece, in seconds of processor time a second.
        groups: Where groups with quotas are made. With a quota but no groups all share the cores.
        link: Between two pieces.

    Raises:
        UsageError: There are not enough cores.
    """
    count, allowed = chain.count("+") + 2, sorted(os.sched_getaffinity(0))
    if link is not None and count != 2:
        raise UsageError(f"--link: it joins two pieces, and {chain} makes {count}; leave one out")
    if quota is None:
        each = cores_each if cores_each is not None else len(allowed) // count
        if not 1 <= each <= len(allowed) // count:
            raise UsageError(
                f"--cores-each {each}: {count} pieces need {max(1, each) * count} cores, and this "
                f"process may use {len(allowed)}; give each piece a --quota instead"
            )
        prefixes: list[list[str]] = [[] for _ in range(count)]
        if link is not None:
            # For the carrier torch: gloo chooses the card by this variable alone.
            prefixes = [[*end.prefix, "env", f"GLOO_SOCKET_IFNAME={end.card}"] for end in ENDS]
        own = [allowed[place * each : (place + 1) * each] for place in range(count)]
        places = [Place(mine, prefix, each) for mine, prefix in zip(own, prefixes)]
        whole = Place(allowed[: count * each], (), count * each)
        return Arena(chain, tuple(places), whole, None, link)
    if link is not None:
        raise UsageError("--link and --quota: a network namespace hides control groups; take one")
    if not 0 < quota * count <= len(allowed):
        raise UsageError(
            f"--quota {quota:g}: {count} pieces may use up to {quota * count:g} cores, and this "
            f"process has {len(allowed)}; lower it"
        )
    names, group_whole = [""] * count, ""
    if groups is not None:
        names = [groups.add(f"{count}-net{place + 1}", quota) for place in range(count)]
        group_whole = groups.add(f"{count}-whole", quota * count)
    places = [Place(allowed, (), math.ceil(quota), name) for name in names]
    threads_whole = math.ceil(round(quota * count, 6))  # 3 * 0.4 is 1.2000000000000002
    whole = Place(allowed, (), threads_whole, group_whole)
    return Arena(chain, tuple(places), whole, quota if groups is not None else None)
