"""Pieces of the digits run, built in the test's own process, and both loops in two threads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from dualnet import config as cfg
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write
from dualnet.training.start import handshake
from tests.training.memory_channel import Line, MemoryChannel
from tests.training.starting import CHAIN

#: Small and silent, so that a test says what it wants beyond.
QUIET = ("train.max_iter=3", "train.test_interval=0", "train.display=0", "train.batch_size=8")


def load(*overrides: str) -> cfg.Config:
    """The digits run's config, quiet but for what is overridden."""
    return cfg.load("configs/digits.yaml", [*QUIET, *overrides])


def make_nets(name: str, run_dir: str, *overrides: str) -> Nets:
    """A piece whose resolved prototxt stand in `run_dir`."""
    os.makedirs(run_dir, exist_ok=True)
    config = load(*overrides)
    resolved = resolve(config, RunDir(run_dir).piece(name))
    write(resolved)
    return Nets(config, resolved)


def make_session(nets: Nets) -> Session:
    """A session that logs where the piece's resolved prototxt stand."""
    log = CaffeLog(nets.resolved.dir.log, nets.resolved.display)
    return Session(nets, log)


@dataclass
class Run:
    """Two pieces that have trained together."""

    nets: dict[str, Nets]
    sessions: dict[str, Session]
    line: Line
    #: Name to weights: by number of completed iterations, then by name `LAYER.INDEX`.
    weights: dict[str, list]


def train_both(run_dir: str, *overrides: str) -> Run:
    """Run both loops to their end in two threads, with everything sent and learnt recorded.

    Raises:
        Exception: What a loop raised; the one that failed first.
    """
    nets = {name: make_nets(name, run_dir, *overrides) for name in CHAIN}
    sessions = {name: make_session(own) for name, own in nets.items()}
    line = Line()
    weights = {name: [weights_of(own)] for name, own in nets.items()}
    errors: list[BaseException] = []

    def run(name: str) -> None:
        own, session = nets[name], sessions[name]
        session.on_progress = lambda done: weights[name].append(weights_of(own))
        try:
            with MemoryChannel(name, line) as channel:
                (end,) = own.resolved.ends
                hello = handshake.describe(own, session, end)
                handshake.check(hello, channel.handshake(hello), end)
                side = "above" if end.is_lower else "below"
                PieceLoop(own, session, **{side: channel}).run()
        except BaseException as error:  # handed to the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in CHAIN]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions.values():
        session.log.close()
    if errors:
        raise errors[0]
    return Run(nets, sessions, line, weights)


def weights_of(nets: Nets) -> dict:
    """Copies of all parameters of the net in training, by name `LAYER.INDEX`."""
    layers = list(nets.train.net.params)
    return {name: values.copy() for name, values in nets.train.parameters(layers).items()}
