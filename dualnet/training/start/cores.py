"""The cores and threads that a piece uses, set before the libraries that read them are loaded."""

from __future__ import annotations

import os

from dualnet.config import Config, Piece
from dualnet.config.cores import parse_cores, thread_count
from dualnet.errors import UsageError

__all__ = ["pin", "share"]


def pin(piece: Piece) -> None:
    """Bind this process to the piece's cores, and set its numbers of threads.

    Raises:
        UsageError: It may not use those cores.
    """
    if piece.cores:
        wanted, allowed = parse_cores(piece.cores), os.sched_getaffinity(0)
        if not wanted <= allowed:
            missing = ", ".join(map(str, sorted(wanted - allowed)))
            raise UsageError(
                f"cores: {piece.cores}: this process may not use core {missing}, only "
                f"{', '.join(map(str, sorted(allowed)))}; ask the batch system for more, or choose "
                "among these"
            )
        os.sched_setaffinity(0, wanted)
    threads = thread_count(piece.cores, piece.threads)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    # Threads that spin while their piece waits for a neighbour would take the neighbour's cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def share(config: Config) -> list[str]:
    """`--set` overrides that divide this machine's cores among the pieces of a chain.

    Nothing is divided where the pieces take turns (`train.schedule: alternating`), or where the
    config says what any of them gets: each may then use all cores, or what it was given. Pieces
    that work at the same time get cores of their own, in equal numbers. With fewer cores than
    pieces, they share them all, with one thread each: bound to cores, two small pieces might
    leave theirs idle while two large ones compete for another; with more threads than cores, a
    thread that has no core holds up all that wait for it at the end of each parallel loop.
    """
    is_settled = any(piece.cores or piece.threads for piece in config.pieces)
    if config.train.schedule == "alternating" or len(config.pieces) < 2 or is_settled:
        return []
    allowed = sorted(os.sched_getaffinity(0))
    count = len(config.pieces)
    if len(allowed) < count:
        return [f"{name}.threads=1" for name in config.names]
    overrides, at = [], 0
    # Cores that are left over go to the lowest pieces, which mostly have more to do: the layers
    # with large images.
    for place in reversed(range(count)):
        width = len(allowed) // count + (place < len(allowed) % count)
        own = ",".join(map(str, allowed[at : at + width]))
        overrides.append(f"{config.names[place]}.cores='{own}'")
        at += width
    return overrides
