"""Which cores and threads a half uses; libraries read it when they are loaded."""

from __future__ import annotations

import os

from dualnet.config import Config, Piece
from dualnet.config.cores import parse_cores, thread_count
from dualnet.errors import UsageError

__all__ = ["pin", "share"]


def pin(piece: Piece) -> None:
    """Bind this process to the half's cores, and set its numbers of threads.

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
    # A half waits for the other: threads that spin meanwhile would take its cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def share(config: Config) -> list[str]:
    """How two halves on one machine get along, as `--set` overrides.

    Taking turns, each uses all cores. At work at the same time (`train.schedule: overlapped`), each
    gets its own half of them, unless the config says what either gets, or there is one core only.
    """
    is_settled = any(piece.cores or piece.threads for piece in config.pieces)
    allowed = sorted(os.sched_getaffinity(0))
    if config.train.schedule != "overlapped" or is_settled or len(allowed) < 2:
        return []
    middle = len(allowed) // 2
    # net1 mostly has more to do: the layers with large images.
    parts = {"net2": allowed[:middle], "net1": allowed[middle:]}
    return [f"{role}.cores='{','.join(map(str, cores))}'" for role, cores in parts.items()]
