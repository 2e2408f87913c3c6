"""A run directory: whose it is, and what a start writes there, a full disk or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable

from dualnet.atomic import write_atomically
from dualnet.config import CONFIG_NAME, Config, load
from dualnet.engine.regular_file import regular_only
from dualnet.errors import StorageFailed, UsageError
from dualnet.exchange import ExchangeSettings
from dualnet.exchange.occupancy import check_vacant, sole
from dualnet.exchange.storage import wait_for_room
from dualnet.fs import SYSTEM, Fs
from dualnet.train import commit
from dualnet.train.resolve import Resolved

__all__ = ["alone", "claim", "exchange_settings", "log_path", "patience"]


def claim(config: Config, run_dir: str, resolved: Resolved, fs: Fs = SYSTEM) -> None:
    """Make the run directory and put the resolved config there, unless somebody has.

    On a full disk it waits for room, `exchange.storage_timeout_s` at most.

    Raises:
        UsageError: The directory holds another run, or this role has trained there already and
            cannot go on.
        StorageFailed: It cannot be written.
    """
    path = os.path.join(run_dir, CONFIG_NAME)

    def prepare() -> None:
        try:
            os.makedirs(run_dir, exist_ok=True)
            if not os.path.exists(path):
                write_atomically(path, config.to_yaml().encode())
        except OSError as error:
            raise StorageFailed(
                f"{run_dir}: cannot write the run directory: {error.strerror}; check the path and "
                "the disk"
            ) from error

    patience(config, fs=fs)(prepare)
    if load(path).identity() != config.identity():
        raise UsageError(
            f"{path}: another configuration runs here; give both halves the same CONFIG and --set, "
            "or choose another run directory"
        )
    role = resolved.role
    log = log_path(run_dir, role)
    can_go_on = resolved.solver.snapshot > 0 or (
        commit.latest(run_dir, role) is not None
        if role == "single"
        else commit.complete(run_dir, role)
    )
    if not can_go_on and _has_begun(log):
        raise UsageError(
            f"{run_dir}: {role} has trained here already ({log}) and left no checkpoint to go on "
            "from; choose another run directory, and set train.snapshot to have checkpoints"
        )


@contextmanager
def alone(config: Config, run_dir: str, fs: Fs = SYSTEM) -> Iterator[None]:
    """Start both halves: the only one that does, of a run whose halves do not run.

    Raises:
        Superseded: Somebody does, or one of them runs; nothing was touched.
        StorageFailed: That cannot be found out.
    """
    settings = exchange_settings(config)
    with sole(run_dir, "training", settings, fs):
        check_vacant(run_dir, settings, fs=fs)
        yield


def exchange_settings(config: Config, **more: Any) -> ExchangeSettings:
    """What the config says of the exchange, but for the carrier.

    Args:
        config: The run.
        **more: What it does not say, or shall not.
    """
    values = {key: value for key, value in vars(config.exchange).items() if key != "carrier"}
    return ExchangeSettings(**{**values, **more})


def _has_begun(log: str) -> bool:
    """Whether a training has begun here, and not just found no room or no partner."""
    try:
        with open(log, "rb", opener=regular_only) as file:
            return any(b"] Solving " in line for line in file)
    except FileNotFoundError:
        return False


def patience(
    config: Config, on_blocked: Callable[[str], None] = lambda state: None, fs: Fs = SYSTEM
) -> Callable[[Callable[[], None]], None]:
    """Runs what a start writes, with patience while the disk is full."""
    timeout_s = config.exchange.storage_timeout_s
    return partial(wait_for_room, timeout_s=timeout_s, on_blocked=on_blocked, fs=fs)


def log_path(run_dir: str, role: str) -> str:
    """The role's log, in Caffe's format."""
    return os.path.join(run_dir, f"{role}.log")
