"""Halves of the digits run, built in the test's own process, and both loops in two threads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from dualnet import config as cfg
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.train.loop.piece import PieceLoop
from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Nets
from dualnet.train.net.resolve import resolve, write
from dualnet.train.start import handshake
from tests.train.memory_channel import Line, MemoryChannel

NAMES = ("net1", "net2")

#: Small and silent, so that a test says what it wants beyond.
QUIET = ("train.max_iter=3", "train.test_interval=0", "train.display=0", "train.batch_size=8")


def load(*overrides: str) -> cfg.Config:
    """The digits run's config, quiet but for what is overridden."""
    return cfg.load("configs/digits.yaml", [*QUIET, *overrides])


def make_half(role: str, run_dir: str, *overrides: str) -> Nets:
    """A half whose resolved prototxt stand in `run_dir`."""
    os.makedirs(run_dir, exist_ok=True)
    config = load(*overrides)
    resolved = resolve(config, RunDir(run_dir).piece(role))
    write(resolved)
    return Nets(config, resolved)


def make_session(half: Nets) -> Session:
    """A session that logs where the half's resolved prototxt stand."""
    log = CaffeLog(half.resolved.dir.log, half.resolved.display)
    return Session(half, log)


@dataclass
class Run:
    """Two halves that have trained together."""

    halves: dict[str, Nets]
    sessions: dict[str, Session]
    line: Line
    #: Role to weights: by number of completed iterations, then by name `LAYER.INDEX`.
    weights: dict[str, list]


def train_both(run_dir: str, *overrides: str) -> Run:
    """Run both loops to their end in two threads, with everything sent and learnt recorded.

    Raises:
        Exception: What a loop raised; the one that failed first.
    """
    halves = {role: make_half(role, run_dir, *overrides) for role in NAMES}
    sessions = {role: make_session(half) for role, half in halves.items()}
    line = Line()
    weights = {role: [weights_of(half)] for role, half in halves.items()}
    errors: list[BaseException] = []

    def run(role: str) -> None:
        half, session = halves[role], sessions[role]
        session.on_progress = lambda done: weights[role].append(weights_of(half))
        try:
            with MemoryChannel(role, line) as channel:
                (end,) = half.resolved.ends
                hello = handshake.describe(half, session, end)
                handshake.check(hello, channel.handshake(hello), end)
                side = "above" if end.is_lower else "below"
                PieceLoop(half, session, **{side: channel}).run()
        except BaseException as error:  # handed to the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(role,), daemon=True) for role in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions.values():
        session.log.close()
    if errors:
        raise errors[0]
    return Run(halves, sessions, line, weights)


def weights_of(half: Nets) -> dict:
    """Copies of all parameters of the net in training, by name `LAYER.INDEX`."""
    layers = list(half.train.net.params)
    return {name: values.copy() for name, values in half.train.parameters(layers).items()}
