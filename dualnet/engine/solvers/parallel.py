"""pycaffe's settings for training one net on several GPUs, which the engine does not do.

The numbers are kept because programs ask for them: the solver of rank 0 is the one that logs and
snapshots (`include/caffe/common.hpp`). Whatever would need NCCL raises DeviceError.
"""

from __future__ import annotations

from typing import Any

from dualnet.engine.errors import DeviceError

__all__ = [
    "NCCL",
    "has_nccl",
    "set_multiprocess",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]

_count = 1
_rank = 0


def has_nccl() -> bool:
    """Whether several GPUs can train one net: no."""
    return False


def solver_count() -> int:
    """How many solvers train together, as `set_solver_count` says."""
    return _count


def set_solver_count(count: int) -> None:
    """Records how many solvers train together; the engine itself runs one."""
    global _count
    _count = int(count)


def solver_rank() -> int:
    """This solver's number, as `set_solver_rank` says."""
    return _rank


def set_solver_rank(rank: int) -> None:
    """Records this solver's number; solvers built from now on add it to `random_seed`."""
    global _rank
    _rank = int(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted for pycaffe's interface; each process runs its own engine in any case."""


class NCCL:
    """pycaffe's class of that name; all of it raises DeviceError, as in a Caffe without NCCL."""

    def __init__(self, solver: Any = None, uid: bytes = b"") -> None:
        raise _refusal("NCCL(solver, uid)")

    @staticmethod
    def new_uid() -> bytes:
        """Always raises DeviceError: the engine trains a net on one GPU."""
        raise _refusal("NCCL.new_uid()")

    def bcast(self) -> None:
        """Always raises DeviceError: the engine trains a net on one GPU."""
        raise _refusal("NCCL.bcast()")


def _refusal(call: str) -> DeviceError:
    return DeviceError(
        f"{call}: the engine trains a net on one GPU and has no NCCL; ask has_nccl() first, and "
        "cut the net into pieces (dualnet split) to train it on several GPUs"
    )
