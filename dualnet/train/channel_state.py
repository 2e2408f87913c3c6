"""What the channel adds to a checkpoint: `<role>_iter_<N>.exchange.npz`, if it adds anything."""

from __future__ import annotations

import io
import os

import numpy as np

from dualnet.atomic import write_atomically
from dualnet.exchange import Channel

__all__ = ["restore", "save", "state_path"]


def state_path(run_dir: str, role: str, iteration: int) -> str:
    """Where it is."""
    return os.path.join(run_dir, f"{role}_iter_{iteration}.exchange.npz")


def save(channel: Channel | None, run_dir: str, role: str, iteration: int) -> list[str]:
    """Write it.

    Returns:
        The paths of what was written.

    Raises:
        OSError: As the system says.
    """
    state = channel.state() if channel is not None else {}
    if not state:
        return []
    content = io.BytesIO()
    np.savez(content, **state)  # type: ignore[arg-type]  # names that savez has parameters for
    path = state_path(run_dir, role, iteration)
    write_atomically(path, content.getvalue())
    return [path]


def restore(channel: Channel | None, run_dir: str, role: str, iteration: int) -> None:
    """Give it back to the channel; before `Channel.resume`.

    Raises:
        OSError: As the system says.
    """
    path = state_path(run_dir, role, iteration)
    if channel is None or not os.path.exists(path):
        return
    with np.load(path, allow_pickle=False) as state:
        channel.restore({name: state[name] for name in state.files})
