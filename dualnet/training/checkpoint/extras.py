"""State that a checkpoint holds beside Caffe's files, each kind in a file where there is any.

`exchange`: the links' rounding residuals (error feedback); `momentum`: the update rule's.
"""

from __future__ import annotations

import io
import os
from typing import Protocol

import numpy as np

from dualnet.atomic import write_atomically
from dualnet.rundir import Snapshot

__all__ = ["KINDS", "Stateful", "restore", "save"]

KINDS = ("exchange", "momentum")


class Stateful(Protocol):
    """An object with state that belongs in a checkpoint."""

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name; {} if there is nothing to keep."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Restore them."""


def save(kind: str, owner: Stateful, snapshot: Snapshot) -> list[str]:
    """Write the state of one kind.

    Args:
        kind: One of `KINDS`.
        owner: Has the state.
        snapshot: The checkpoint's files.

    Returns:
        The paths of what was written.

    Raises:
        OSError: As the system says.
    """
    state = owner.state()
    if not state:
        return []
    content = io.BytesIO()
    np.savez(content, **state)  # type: ignore[arg-type]  # names that savez has parameters for
    path = snapshot.extras(kind)
    write_atomically(path, content.getvalue())
    return [path]


def restore(kind: str, owner: Stateful, snapshot: Snapshot) -> None:
    """Restore it; a channel's before `Channel.resume`. The arguments are those of `save`.

    Raises:
        OSError: As the system says.
    """
    path = snapshot.extras(kind)
    if not os.path.exists(path):
        return
    with np.load(path, allow_pickle=False) as state:
        owner.restore({name: state[name] for name in state.files})
