"""From a config and a role to a trained net: everything that happens around the loops."""

from __future__ import annotations

import os
from typing import Callable, Optional

from dualnet import backend
from dualnet.atomic import write_atomically
from dualnet.config import CONFIG_NAME, Config, load
from dualnet.errors import StorageFailed, UsageError
from dualnet.exchange import ExchangeSettings, open_channel
from dualnet.report.log import CaffeLog
from dualnet.train import checkpoint, handshake
from dualnet.train.half import Half
from dualnet.train.net1 import Net1
from dualnet.train.net2 import Net2
from dualnet.train.resolve import resolve, write
from dualnet.train.session import Session
from dualnet.train.single import Single

__all__ = ["claim", "train_half", "train_single"]

Progress = Optional[Callable[[Session], None]]


def claim(config: Config, run_dir: str, role: str, resume: bool = False) -> None:
    """Make the run directory and put the resolved config there, unless the partner has.

    Raises:
        UsageError: The directory holds another run, or this role has trained there already.
        StorageFailed: It cannot be written.
    """
    log = log_path(run_dir, role)
    if os.path.exists(log) and not resume:
        raise UsageError(
            f"{run_dir}: {role} has trained here already ({log}); choose another run directory"
        )
    path = os.path.join(run_dir, CONFIG_NAME)
    try:
        os.makedirs(run_dir, exist_ok=True)
        if not os.path.exists(path):
            write_atomically(path, config.to_yaml().encode())
    except OSError as error:
        raise StorageFailed(
            f"{run_dir}: cannot write the run directory: {error.strerror}"
        ) from error
    if load(path).identity() != config.identity():
        raise UsageError(
            f"{path}: another configuration runs here; give both halves the same CONFIG and --set, "
            "or choose another run directory"
        )


def log_path(run_dir: str, role: str) -> str:
    """The role's log, in Caffe's format."""
    return os.path.join(run_dir, f"{role}.log")


def train_single(
    config: Config, run_dir: str, resume: bool = False, progress: Progress = None
) -> Session:
    """Train the uncut net."""
    resolved = resolve(config, "single", run_dir)
    claim(config, run_dir, "single", resume)
    write(resolved)
    half = Half(config, resolved)
    with CaffeLog(log_path(run_dir, "single"), display=resolved.display) as log:
        session = _begin(half, log, run_dir, resume)
        if progress is not None:
            progress(session)
        Single(half, session).run()
    return session


def train_half(config: Config, role: str, run_dir: str, progress: Progress = None) -> Session:
    """Train net1 or net2, together with the other half that somebody starts elsewhere."""
    resolved = resolve(config, role, run_dir)
    claim(config, run_dir, role)
    settings = ExchangeSettings(
        **{k: v for k, v in vars(config.exchange).items() if k != "carrier"}, retain=0
    )
    identity = {"config": config.identity()}
    carrier = config.exchange.carrier
    with open_channel(carrier, role, run_dir, settings, identity) as channel:
        write(resolved)
        half = Half(config, resolved)
        with CaffeLog(log_path(run_dir, role), display=resolved.display) as log:
            session = _begin(half, log, run_dir, resume=False)
            hello = handshake.describe(half, session)
            handshake.check(hello, channel.handshake(hello), config)
            if progress is not None:
                progress(session)
            if role == "net1":
                Net1(half, channel, session).run()
            else:
                Net2(half, channel, session).run()
            counters = channel.counters
            log.info(
                f"Exchange: {counters.bytes_sent} bytes sent, {counters.bytes_received} received, "
                f"waited {counters.wait_s:.3g} s, exchanged {counters.exchange_s:.3g} s"
            )
    return session


def _begin(half: Half, log: CaffeLog, run_dir: str, resume: bool) -> Session:
    """Say what runs, load starting weights, continue from a snapshot if asked."""
    session = Session(half, log, run_dir)
    coupling = half.config.coupling
    log.info(
        f"dualnet {half.role} on {backend.provider} Caffe, device {_device(half)}, "
        f"seed {half.config.seed}, update {half.config.update.rule}"
    )
    if half.role != "single":
        log.info(f"Coupling: target {coupling.target}, loss {coupling.loss}, tie {coupling.tie}")
    if half.role == "net1" and half.resolved.is_frozen:
        log.warning("net1's loss has no loss_weight: net1 is frozen and only net2 learns")
    half.copy_weights(half.config.train.weights)
    if resume:
        iteration, _ = checkpoint.find(run_dir)
        session.restore(iteration)
    return session


def _device(half: Half) -> str:
    return str(half.config.half(half.role).device)
