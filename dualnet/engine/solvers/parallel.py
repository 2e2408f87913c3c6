"""pycaffe's settings for training one net on several GPUs, which the engine does not do.

The numbers are kept because programs ask for them: `solver_rank() == 0` decides who logs and
snapshots (`include/caffe/common.hpp`). Whatever would need NCCL says so.
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
    """Stands for pycaffe's `NCCL`, whose methods all refuse as they do where Caffe lacks NCCL."""

    def __init__(self, solver: Any = None, uid: bytes = b"") -> None:
        raise _refusal("NCCL(solver, uid)")

    @staticmethod
    def new_uid() -> bytes:
        """Refuses.

        Raises:
            DeviceError: always.
        """
        raise _refusal("NCCL.new_uid()")

    def bcast(self) -> None:
        """Refuses; see `new_uid`."""
        raise _refusal("NCCL.bcast()")


def _refusal(call: str) -> DeviceError:
    return DeviceError(
        f"{call}: the engine trains a net on one GPU and has no NCCL; ask has_nccl() first, and "
        "use dualnet's two halves to train on two GPUs"
    )
